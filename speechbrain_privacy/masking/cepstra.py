"""Cepstra a hundred times a second, and how they change over time."""

import torch
import torchaudio

from speechbrain_privacy.nnet.pooling import frames_mask, valid_counts

STEP = 0.01
WINDOW = 0.025
#: Power below which spectra say nothing: what hums in silence is no phone.
FLOOR = 1e-3
#: Root mean square that every utterance is brought to, and what is silence.
LEVEL, SILENT = 0.1, 1e-5


def frame_step(sample_rate):
    """Samples in 10 ms, which must be a whole number.

    Example
    -------
    >>> frame_step(16000)
    160
    """
    if sample_rate <= 0 or sample_rate % 100:
        raise ValueError(
            f"at {sample_rate} Hz 10 ms are no whole number of samples"
        )
    return int(sample_rate) // 100


def without_padding(wavs, lengths, hop):
    """A padded batch made silent where nobody is, and its sizes.

    Arguments
    ---------
    wavs : torch.Tensor
        ``[batch, samples]``.
    lengths : torch.Tensor or None
        Relative, ``[batch]``; None: all are full.
    hop : int
        Samples from frame to frame.

    Returns
    -------
    tuple of torch.Tensor
        The waveforms in float32, and each row's valid samples and frames
        ``[batch]``.
    """
    wavs, n_samples = wavs.float(), wavs.shape[1]
    if lengths is None:
        lengths = torch.ones(len(wavs), device=wavs.device)
    samples = valid_counts(lengths, n_samples)
    wavs = wavs.masked_fill(~frames_mask(samples, n_samples), 0.0)
    return wavs, samples, samples // hop + 1


def levelled(wavs, samples):
    """Utterances brought to one level, since spectra have a floor.

    Arguments
    ---------
    wavs : torch.Tensor
        ``[batch, samples]``, zeros where padded.
    samples : torch.Tensor
        Valid ones of each row, ``[batch]``.

    Returns
    -------
    torch.Tensor
        The shape of ``wavs``.

    Example
    -------
    >>> levelled(torch.tensor([[4.0, -4.0, 0.0]]), torch.tensor([2]))[0, :2]
    tensor([ 0.1000, -0.1000])
    """
    level = (wavs.square().sum(1) / samples.clamp(min=1)).sqrt()
    return wavs * (LEVEL / level.clamp(min=SILENT)).unsqueeze(1)


class CepstralFrames(torch.nn.Module):
    """Waveform -> cepstra of a floored log-mel spectrum, 100 a second.

    Arguments
    ---------
    sample_rate : int
        In Hz.
    n_mels, n_mfcc : int
        Bands, and coefficients kept (with the zeroth, loudness).

    Example
    -------
    >>> CepstralFrames()(torch.rand(2, 16000)).shape
    torch.Size([2, 101, 13])
    """

    def __init__(self, sample_rate=16000, n_mels=40, n_mfcc=13):
        super().__init__()
        self.hop = frame_step(sample_rate)
        window = round(WINDOW * sample_rate)
        self.n_fft = 1 << (window - 1).bit_length()
        mel = torchaudio.functional.melscale_fbanks(
            self.n_fft // 2 + 1, 0.0, sample_rate / 2, n_mels, sample_rate
        )
        dct = torchaudio.functional.create_dct(n_mfcc, n_mels, "ortho")
        self.register_buffer("window", torch.hann_window(window))
        self.register_buffer("mel", mel)
        self.register_buffer("dct", dct)

    def forward(self, wavs):
        """Cepstra of a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``, full scale 1, zeros where padded.

        Returns
        -------
        torch.Tensor
            ``[batch, frames, n_mfcc]``; frame t is centred on t times 10 ms.
        """
        spectrum = torch.stft(
            wavs,
            self.n_fft,
            self.hop,
            len(self.window),
            self.window,
            pad_mode="constant",
            return_complex=True,
        )
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
        return torch.log(power.transpose(1, 2) @ self.mel + FLOOR) @ self.dct


class LevelledCepstra(torch.nn.Module):
    """Waveforms, at any level -> cepstra, 100 a second.

    Arguments
    ---------
    sample_rate : int
        In Hz.

    Example
    -------
    >>> LevelledCepstra()(torch.rand(2, 16000), torch.ones(2)).shape
    torch.Size([2, 101, 13])
    """

    def __init__(self, sample_rate=16000):
        super().__init__()
        self.frames = CepstralFrames(sample_rate)

    @property
    def output_size(self):
        """Cepstra of a frame."""
        return self.frames.dct.shape[1]

    def counted(self, wavs, lengths=None):
        """Cepstra, and each row's valid samples and frames ``[batch]``."""
        if wavs.dim() != 2:
            raise ValueError(
                f"waveforms are [batch, samples], not {[*wavs.shape]}"
            )
        wavs, samples, counts = without_padding(wavs, lengths, self.frames.hop)
        with torch.autocast(wavs.device.type, enabled=False):
            return self.frames(levelled(wavs, samples)), samples, counts

    def forward(self, wavs, lengths=None):
        """``wavs [batch, samples]`` -> ``[batch, frames, 13]``."""
        return self.counted(wavs, lengths)[0]


def mean_difference(x, counts, width=3):
    """How far the mean frames left and right of each frame lie apart.

    Arguments
    ---------
    x : torch.Tensor
        ``[batch, frames, dim]``.
    counts : torch.Tensor
        Valid frames, ``[batch]``; beyond its ends a row repeats its first
        and its last frame.
    width : int
        Frames on each side.

    Returns
    -------
    torch.Tensor
        ``[batch, frames]``; entry t compares what ends before frame t with
        what begins there, 0 at t = 0 and in padding.

    Example
    -------
    >>> x = torch.tensor([[[0.0], [0.0], [0.0], [3.0], [3.0], [3.0]]])
    >>> mean_difference(x, torch.tensor([6]))[0].tolist()
    [0.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """
    n_frames = x.shape[1]
    x = _extended(x, counts, width, width - 1)
    # sums[t]: the frames t - width .. t - 1 of the row.
    sums = x[:, : n_frames + width].clone()
    for step in range(1, width):
        sums += x[:, step : step + n_frames + width]
    apart = (sums[:, width:] - sums[:, :-width]).square().sum(2).sqrt() / width
    return apart * _inside(counts, n_frames)


def spectral_transition(x, counts, width=2):
    """Mean squared slope of the cepstra.

    Source: Furui, "On the role of spectral transition for speech
    perception", JASA 1986.

    Arguments
    ---------
    x, counts
        As in ``mean_difference``.
    width : int
        Frames on each side that a slope is fitted to.

    Returns
    -------
    torch.Tensor
        ``[batch, frames]``, 0 at t = 0 and in padding.
    """
    n_frames = x.shape[1]
    x = _extended(x, counts, width, width)
    slope = 0.0
    for step in range(1, width + 1):
        right = x[:, width + step : width + step + n_frames]
        left = x[:, width - step : width - step + n_frames]
        slope = slope + step * (right - left)
    slope = slope / (2 * sum(step**2 for step in range(1, width + 1)))
    return slope.square().mean(2) * _inside(counts, n_frames)


def _extended(x, counts, before, after):
    """Each row with its first and last frame repeated."""
    last = x[torch.arange(len(x), device=x.device), counts - 1]
    valid = frames_mask(counts, x.shape[1]).unsqueeze(2)
    x = torch.where(valid, x, last.unsqueeze(1))
    return torch.cat(
        [
            x[:, :1].expand(-1, before, -1),
            x,
            last.unsqueeze(1).expand(-1, after, -1),
        ],
        dim=1,
    )


def _inside(counts, n_frames):
    inside = frames_mask(counts, n_frames)
    inside[:, 0] = False
    return inside
