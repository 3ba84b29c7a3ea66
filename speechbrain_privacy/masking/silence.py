"""Where nobody speaks: a voice activity detector on energy alone."""

import torch

from speechbrain_privacy.masking.cepstra import (
    WINDOW,
    frame_step,
    without_padding,
)
from speechbrain_privacy.nnet.pooling import frames_mask

#: Mean square of a frame below which everything is the same silence.
SILENT = 1e-9


class EnergyVad(torch.nn.Module):
    """Calls speech what is loud for its utterance.

    The threshold lies between the utterance's quiet and loud frames (their
    10th and 95th percentile), in dB, but never more than ``span`` below the
    loud ones: an utterance without a pause keeps its quiet phones.

    Arguments
    ---------
    place : float
        Of the threshold, from 0 (quiet) to 1 (loud).
    span : float
        In dB.
    smooth : int
        Frames, an odd number, over which the majority decides.
    sample_rate : int
        In Hz.

    Example
    -------
    >>> wavs = torch.cat([torch.zeros(1, 8000), torch.randn(1, 8000)], dim=1)
    >>> speech, counts = EnergyVad()(wavs)
    >>> speech[0, [10, 40, 60, 90]].tolist(), counts.tolist()
    ([False, False, True, True], [101])
    """

    def __init__(self, place=0.3, span=40.0, smooth=5, sample_rate=16000):
        super().__init__()
        if smooth % 2 != 1:
            raise ValueError(f"smooth is an odd number of frames, not {smooth}")
        self.place = place
        self.span = span
        self.smooth = smooth
        self.hop = frame_step(sample_rate)
        self.window = round(WINDOW * sample_rate)

    @torch.no_grad()
    def forward(self, wavs, lengths=None):
        """Finds speech in a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``.
        lengths : torch.Tensor, optional
            Relative, ``[batch]``.

        Returns
        -------
        speech : torch.Tensor
            Boolean ``[batch, frames]``, a frame every 10 ms as those of
            ``BoundaryDetector``, False in padding.
        counts : torch.Tensor
            Valid frames, ``[batch]``.
        """
        wavs, _, counts = without_padding(wavs, lengths, self.hop)
        half = self.window // 2
        power = torch.nn.functional.avg_pool1d(
            torch.nn.functional.pad(wavs.square(), (half, self.window - half)),
            self.window,
            self.hop,
        )
        level = 10 * torch.log10(power.clamp(min=SILENT))
        valid = frames_mask(counts, level.shape[1])
        ranked = level.masked_fill(~valid, float("inf")).sort(dim=1).values
        quiet, loud = (
            ranked.gather(1, (share * (counts - 1)).long()[:, None])
            for share in (0.1, 0.95)
        )
        threshold = quiet + self.place * (loud - quiet)
        threshold = torch.maximum(threshold, loud - self.span)
        speech = ((level > threshold) & valid).float()
        # The share of speech around each frame, of valid frames only.
        share = torch.nn.functional.avg_pool1d(
            torch.stack([speech, valid.float()]),
            self.smooth,
            stride=1,
            padding=self.smooth // 2,
        )
        return (share[0] > 0.5 * share[1]) & valid, counts


def needed_vad(policy, silence=1.0, sample_rate=16000):
    """What a policy needs that spares silence, or nothing.

    Arguments
    ---------
    policy : callable
        Of ``masking.policies``.
    silence : float
        As for ``policies.Segments``: 1 hides silence as often as speech.
    sample_rate : int
        In Hz.

    Returns
    -------
    EnergyVad or None

    Raises
    ------
    ValueError
        If silence is to be spared by a policy that does not listen.

    Example
    -------
    >>> from speechbrain_privacy.masking.policies import Segments
    >>> type(needed_vad(Segments(silence=0.1), 0.1)).__name__
    'EnergyVad'
    """
    if silence == 1.0:
        return None
    if not hasattr(policy, "silence"):
        raise ValueError(
            f"silence: {silence} is for masks that listen: segments, pairs, "
            "shuffled, shifted, matched or aligned, not fixed"
        )
    return EnergyVad(sample_rate=sample_rate)
