"""Where one phone ends and the next begins, without any labels.

Detectors on cepstra, all but one without training, with one knob, the number
of boundaries a second: thresholds do not carry over from corpus to corpus,
rates do.
"""

import torch

from speechbrain_privacy.masking.cepstra import (
    STEP,
    LevelledCepstra,
    mean_difference,
    spectral_transition,
)
from speechbrain_privacy.masking.learnt import FrameEncoder
from speechbrain_privacy.masking.segmentation import least_variance
from speechbrain_privacy.nnet.pooling import frames_mask

METHODS = ("difference", "variance", "transition")
LEARNT = "learnt"
#: Boundaries a second in read English.
RATE = 9.0
#: Weight of the squared difference of means beside the variances.
BONUS = 10.0


class BoundaryDetector(torch.nn.Module):
    """Finds phone boundaries in waveforms.

    Arguments
    ---------
    method : str
        ``"difference"`` of the means left and right of a frame (its highest
        peaks), least ``"variance"`` within segments, or spectral
        ``"transition"`` (its highest peaks); or ``"learnt"``, the difference
        of the means of vectors that a network has learnt.
    rate : float
        Boundaries a second.
    sample_rate : int
        In Hz.
    learnt_from : str or Path, optional
        For ``"learnt"``: a run of the recipe ``boundaries``, or the
        ``encoder.ckpt`` of one of its checkpoints.

    Raises
    ------
    ValueError
        If the method is unknown, the rate is not positive, or a file is
        missing or not asked for.

    Example
    -------
    >>> detector = BoundaryDetector(rate=8)
    >>> found, counts = detector(torch.randn(2, 16000), torch.tensor([1, 0.5]))
    >>> found.shape, counts.tolist(), found.sum(1).tolist()
    (torch.Size([2, 101]), [101, 51], [8, 4])
    """

    def __init__(
        self,
        method="difference",
        rate=RATE,
        sample_rate=16000,
        learnt_from=None,
    ):
        super().__init__()
        if method not in (*METHODS, LEARNT):
            raise ValueError(
                f"method is '{method}'; it is {', '.join(METHODS)} or {LEARNT}"
            )
        if (method == LEARNT) != bool(learnt_from):
            raise ValueError(
                f"the detector is '{method}' and learnt_from is "
                f"'{learnt_from or ''}': '{LEARNT}' needs the run of one, and "
                "no other detector does"
            )
        if not 0 < rate < 1 / STEP:
            raise ValueError(f"rate is {rate} boundaries a second")
        self.method = method
        self.rate = rate
        self.learnt_from = learnt_from
        self.sample_rate = sample_rate
        self.cepstra = LevelledCepstra(sample_rate)
        self.encoder = None
        if learnt_from:
            self.encoder = FrameEncoder.from_file(learnt_from)
            if self.encoder.input_size != self.cepstra.output_size:
                raise ValueError(
                    f"{learnt_from} hears {self.encoder.input_size} cepstra, "
                    f"not {self.cepstra.output_size}"
                )
            self.encoder.requires_grad_(False)

    @torch.no_grad()
    def forward(self, wavs, lengths=None):
        """Boundaries of a batch, each row as if it were alone.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``.
        lengths : torch.Tensor, optional
            Relative, ``[batch]``.

        Returns
        -------
        begins : torch.Tensor
            Boolean ``[batch, frames]``, True where a phone begins, at t
            times 10 ms; never at frame 0 or in padding.
        counts : torch.Tensor
            Valid frames, ``[batch]``.
        """
        x, samples, counts = self.cepstra.counted(wavs, lengths)
        wanted = (self.rate * samples / self.sample_rate).round().long()
        if self.method == "transition":
            return highest_peaks(spectral_transition(x, counts), wanted), counts
        if self.encoder is not None:
            with torch.autocast(x.device.type, enabled=False):
                x, _ = self.encoder(x, counts / x.shape[1])
        apart = mean_difference(x, counts)
        if self.method in ("difference", LEARNT):
            return highest_peaks(apart, wanted), counts
        bonus = BONUS * apart.square()
        return least_variance(x, counts, wanted, bonus), counts


def highest_peaks(curve, wanted):
    """The highest local maxima of each row.

    Arguments
    ---------
    curve : torch.Tensor
        ``[batch, frames]``, not negative; the ends count as valleys.
    wanted : torch.Tensor
        How many at most, ``[batch]``.

    Returns
    -------
    torch.Tensor
        Boolean ``[batch, frames]``.

    Example
    -------
    >>> curve = torch.tensor([[0.0, 2.0, 1.0, 3.0, 0.0, 1.0, 0.0]])
    >>> highest_peaks(curve, torch.tensor([2])).int().tolist()
    [[0, 1, 0, 1, 0, 0, 0]]
    """
    before = torch.nn.functional.pad(curve, (1, 0))[:, :-1]
    after = torch.nn.functional.pad(curve, (0, 1))[:, 1:]
    height = curve * ((curve > before) & (curve >= after))
    most = min(int(wanted.max()), curve.shape[1])
    top, where = height.topk(most, dim=1)
    kept = (top > 0) & frames_mask(wanted, most)
    return torch.zeros_like(height, dtype=torch.bool).scatter_(1, where, kept)
