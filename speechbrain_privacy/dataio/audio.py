"""Reading one utterance, or one clear sentence why not."""

import torch
from speechbrain.dataio import audio_io

#: Seconds, and share, that a manifest's duration may be off: it sorts and
#: groups utterances, and says where alignments end.
OFF = (0.1, 0.01)


class AudioError(ValueError):
    """Audio that cannot be used, and why."""


def read_utterance(path, sample_rate, duration=None):
    """Reads a mono signal.

    Arguments
    ---------
    path : str
        Any format that soundfile reads (wav, flac, NIST sphere, ...).
    sample_rate : int
        The rate in Hz that the model expects.
    duration : float, optional
        Seconds that the manifest says it lasts.

    Returns
    -------
    torch.Tensor
        Float32, ``[samples]``; several channels are averaged.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, empty, at another rate, of
        another length, or holds values that are not finite.

    Example
    -------
    >>> path = str(getfixture("tmp_path") / "a.wav")
    >>> audio_io.save(path, torch.zeros(1, 800), 16000)
    >>> read_utterance(path, 16000).shape
    torch.Size([800])
    """
    try:
        signal, rate = audio_io.load(path)
    except (OSError, RuntimeError) as fault:
        raise AudioError(f"{path}: cannot be read as audio: {fault}") from None
    if rate != sample_rate:
        raise AudioError(
            f"{path}: sample rate {rate} Hz, but the key sample_rate says "
            f"{sample_rate} Hz: convert the audio or change the key"
        )
    if signal.numel() == 0:
        raise AudioError(f"{path}: holds no samples")
    seconds = signal.shape[-1] / rate
    if duration is not None and abs(seconds - duration) > max(
        OFF[0], OFF[1] * seconds
    ):
        raise AudioError(
            f"{path}: lasts {seconds:.2f} s, but the manifest's duration says "
            f"{duration:.2f} s"
        )
    if not torch.isfinite(signal).all():
        raise AudioError(f"{path}: holds samples that are NaN or infinite")
    return signal.mean(0)
