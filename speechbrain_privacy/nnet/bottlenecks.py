"""Less passes: quantised, or fewer channels (``noise``: noisy ones).

Each takes ``hidden [batch, time, dim]`` with relative ``lengths`` and gives
hidden frames of the same shape with a loss of its own; between any encoder
and any head.
"""

import math

import torch

# Where the YAMLs of earlier runs look for them.
from speechbrain_privacy.nnet.noise import (  # noqa: F401
    GaussianNoise,
    LaplaceNoise,
)
from speechbrain_privacy.nnet.pooling import frame_counts, frames_mask


class VectorQuantizer(torch.nn.Module):
    """Each frame becomes one of few vectors that follow the frames.

    Gradients pass straight through. Codes are moving averages of the frames
    that chose them; those that nobody chooses begin anew at some frame.

    Source: van den Oord et al., "Neural discrete representation learning",
    NeurIPS 2017, appendix A.1 (moving averages); as a bottleneck against
    speakers, Champion et al., "Are disentangled representations all you need
    to build speaker anonymization systems?", Interspeech 2022.

    Arguments
    ---------
    input_size : int
        Channels.
    n_codes : int
    decay : float
        Of the averages.
    commitment : float
        Weight of the frames' distance to their codes.
    begin_after : int
        Calls in training during which frames pass as they are: from the
        first step on, codes of an encoder that knows nothing can collapse.
    least : float
        Codes chosen less often a call than this, on average, begin anew.

    Example
    -------
    >>> bottleneck = VectorQuantizer(8, n_codes=4)
    >>> hidden, loss = bottleneck(torch.randn(2, 9, 8), torch.ones(2))
    >>> hidden.shape, len(hidden.flatten(0, 1).unique(dim=0)) <= 4
    (torch.Size([2, 9, 8]), True)
    >>> bottleneck.bits_per_second(25)
    50.0
    """

    def __init__(
        self,
        input_size,
        n_codes=64,
        decay=0.99,
        commitment=0.25,
        begin_after=0,
        least=0.1,
    ):
        super().__init__()
        if n_codes < 2:
            raise ValueError(f"two codes or more, not {n_codes}")
        if not 0.0 < decay < 1.0:
            raise ValueError(f"decay lies in (0, 1), not {decay}")
        self.n_codes = n_codes
        self.decay = decay
        self.commitment = commitment
        self.begin_after = begin_after
        self.least = least
        self.register_buffer("codes", torch.randn(n_codes, input_size))
        self.register_buffer("sums", torch.zeros(n_codes, input_size))
        self.register_buffer("counts", torch.zeros(n_codes))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def bits_per_second(self, frame_rate):
        """What passes at most, at ``frame_rate`` frames a second."""
        return math.log2(self.n_codes) * frame_rate

    def forward(self, hidden, lengths):
        """Quantises a batch.

        Arguments
        ---------
        hidden : torch.Tensor
            ``[batch, time, dim]``.
        lengths : torch.Tensor
            Relative, ``[batch]``.

        Returns
        -------
        hidden : torch.Tensor
            The same shape.
        loss : torch.Tensor
            The commitment.
        """
        if self.training:
            self.calls += 1
        if int(self.calls) <= self.begin_after:
            return hidden, hidden.new_zeros(())
        counts = frame_counts(lengths, hidden.shape[1])
        valid = frames_mask(counts, hidden.shape[1])
        with torch.autocast(hidden.device.type, enabled=False):
            x = hidden.float()
            if self.training and not self.counts.any():
                self._begin(x[valid].detach(), slice(None))
            index = self.nearest(x.detach())
            chosen = self.codes[index]
            gap = (x - chosen)[valid].square().mean()
            if self.training:
                self._follow(x[valid].detach(), index[valid])
        # The codes themselves, with the gradient of the frames.
        passed = chosen.to(hidden.dtype) + (hidden - hidden.detach())
        return passed, self.commitment * gap

    def nearest(self, x):
        """Frames ``[..., dim]`` -> the codes they are nearest to."""
        half = self.codes.square().sum(1) / 2
        return (x @ self.codes.t() - half).argmax(-1)

    @torch.no_grad()
    def _follow(self, x, index):
        counts = torch.bincount(index, minlength=self.n_codes).float()
        sums = torch.zeros_like(self.sums).index_add_(0, index, x)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
            torch.distributed.all_reduce(sums)
        self.counts.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        used = self.counts > 0
        self.codes[used] = self.sums[used] / self.counts[used].unsqueeze(1)
        idle = (self.counts < self.least).nonzero().squeeze(1)
        if len(idle):
            self._begin(x, idle)

    @torch.no_grad()
    def _begin(self, x, codes):
        """Puts codes where some frames are."""
        n_codes = len(self.counts[codes])
        draw = torch.randint(len(x), (n_codes,), device=x.device)
        frames = x[draw]
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(frames, 0)
        self.codes[codes] = frames
        # As if each had been chosen once a call: time to find frames.
        self.counts[codes] = 1.0
        self.sums[codes] = frames


class Narrow(torch.nn.Module):
    """Through fewer channels and back, linearly.

    Arguments
    ---------
    input_size, channels : int

    Example
    -------
    >>> hidden, loss = Narrow(8, 2)(torch.randn(2, 9, 8), torch.ones(2))
    >>> hidden.shape
    torch.Size([2, 9, 8])
    """

    def __init__(self, input_size, channels):
        super().__init__()
        if not 1 <= channels <= input_size:
            raise ValueError(f"channels are 1 to {input_size}, not {channels}")
        self.down = torch.nn.Linear(input_size, channels)
        self.up = torch.nn.Linear(channels, input_size)

    def forward(self, hidden, lengths):
        """As ``VectorQuantizer.forward``; the loss is 0."""
        return self.up(self.down(hidden)), hidden.new_zeros(())


class FewerChannels(torch.nn.Module):
    """Some channels, the same for ever, are zero: the trivial control.

    Arguments
    ---------
    input_size, channels : int
        There are, and are left.
    seed : int
        Which.

    Example
    -------
    >>> hidden, _ = FewerChannels(8, 2)(torch.ones(1, 3, 8), torch.ones(1))
    >>> hidden.sum(2)
    tensor([[2., 2., 2.]])
    """

    def __init__(self, input_size, channels, seed=0):
        super().__init__()
        if not 1 <= channels <= input_size:
            raise ValueError(f"channels are 1 to {input_size}, not {channels}")
        draw = torch.Generator().manual_seed(seed)
        order = torch.randperm(input_size, generator=draw)
        kept = torch.zeros(input_size)
        kept[order[:channels]] = 1.0
        self.register_buffer("kept", kept)

    def forward(self, hidden, lengths):
        """As ``VectorQuantizer.forward``; the loss is 0."""
        return hidden * self.kept.to(hidden.dtype), hidden.new_zeros(())


def made(kinds, kind):
    """The bottleneck that a recipe's user asks for, and no other.

    Arguments
    ---------
    kinds : dict
        Name -> callable without arguments.
    kind : str

    Returns
    -------
    torch.nn.Module
    """
    if kind not in kinds:
        raise ValueError(f"bottleneck '{kind}' is none of {', '.join(kinds)}")
    return kinds[kind]()
