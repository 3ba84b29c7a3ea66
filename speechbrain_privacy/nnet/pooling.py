"""Masked pooling over time: ``[batch, time, dim]`` -> one vector each.

Vectorised and without noise: padding never changes a result.
"""

import torch


def frame_counts(lengths, n_frames):
    """Relative lengths ``[batch]`` -> whole frames ``[batch]``, at least 1."""
    return valid_counts(lengths, n_frames).clamp(min=min(1, n_frames))


def valid_counts(lengths, n_frames):
    """As ``frame_counts``, but nothing of what is empty."""
    if (lengths > 1.01).any():
        raise ValueError(
            f"lengths are relative, at most 1; got {float(lengths.max()):g}"
        )
    return (lengths * n_frames).round().long().clamp(0, n_frames)


def counts_after(stride, counts):
    """Frames that are left, ``[batch]``, where ``stride`` become one."""
    return (counts + stride - 1).div(stride, rounding_mode="floor")


def frames_mask(counts, n_frames):
    """Frame counts ``[batch]`` -> boolean mask ``[batch, n_frames]``."""
    return torch.arange(n_frames, device=counts.device) < counts.unsqueeze(1)


def _moments(x, weights):
    """Weighted mean and standard deviation; ``weights`` sum to 1 over time.

    In float32 even under autocast: the difference of two moments would not
    survive bfloat16. (Products and sums, unlike einsum, are not autocast.)
    """
    x, weights = x.float(), weights.float().unsqueeze(2)
    mean = (x * weights).sum(1)
    second = (x * x * weights).sum(1)
    # The floor keeps the gradient of the root finite on constant channels.
    std = (second - mean * mean).clamp(min=1e-5).sqrt()
    return mean, std


class MeanPooling(torch.nn.Module):
    """Mean over the valid frames.

    Example
    -------
    >>> x = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> MeanPooling()(x, torch.tensor([[True, True, False]]))
    tensor([[2.]])
    """

    def output_size(self, input_size):
        """Size of the pooled vector."""
        return input_size

    def forward(self, x, mask):
        """``x [batch, time, dim]``, ``mask [batch, time]`` -> ``[batch, dim]``."""
        weights = mask.float()
        weights = weights / weights.sum(1, keepdim=True)
        return (x.float() * weights.unsqueeze(2)).sum(1)


class MaxPooling(torch.nn.Module):
    """Maximum over the valid frames.

    Example
    -------
    >>> x = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> MaxPooling()(x, torch.tensor([[True, True, False]]))
    tensor([[3.]])
    """

    def output_size(self, input_size):
        """Size of the pooled vector."""
        return input_size

    def forward(self, x, mask):
        """``x [batch, time, dim]``, ``mask [batch, time]`` -> ``[batch, dim]``."""
        return x.masked_fill(~mask.unsqueeze(2), float("-inf")).amax(1)


class StatsPooling(torch.nn.Module):
    """Mean and standard deviation over the valid frames.

    Example
    -------
    >>> x = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> StatsPooling()(x, torch.tensor([[True, True, False]]))
    tensor([[2., 1.]])
    """

    def output_size(self, input_size):
        """Size of the pooled vector."""
        return 2 * input_size

    def forward(self, x, mask):
        """``x [batch, time, dim]``, ``mask [batch, time]`` -> ``[batch, 2 dim]``."""
        weights = mask.float()
        return torch.cat(
            _moments(x, weights / weights.sum(1, keepdim=True)), dim=1
        )


class AttentivePooling(torch.nn.Module):
    """Attentive statistics: weights per frame from a small network.

    Source: Okabe et al., "Attentive Statistics Pooling for Deep Speaker
    Embedding", Interspeech 2018, eqs. 1-6, one weight per frame.

    Arguments
    ---------
    input_size : int
        Channels of the input.
    attention_size : int
        Hidden units of the scoring network.

    Example
    -------
    >>> pool = AttentivePooling(8, attention_size=4)
    >>> pool(torch.rand(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)).shape
    torch.Size([2, 16])
    """

    def __init__(self, input_size, attention_size=32):
        super().__init__()
        self.score = torch.nn.Sequential(
            torch.nn.Linear(input_size, attention_size),
            torch.nn.Tanh(),
            torch.nn.Linear(attention_size, 1),
        )

    def output_size(self, input_size):
        """Size of the pooled vector."""
        return 2 * input_size

    def forward(self, x, mask):
        """``x [batch, time, dim]``, ``mask [batch, time]`` -> ``[batch, 2 dim]``."""
        score = self.score(x).squeeze(2).masked_fill(~mask, float("-inf"))
        return torch.cat(_moments(x, score.softmax(1)), dim=1)


def make_pooling(kind, input_size):
    """Builds a pooling by name.

    Arguments
    ---------
    kind : str
        ``mean``, ``max``, ``stats`` or ``attentive``.
    input_size : int
        Channels of the frames.

    Returns
    -------
    torch.nn.Module

    Example
    -------
    >>> make_pooling("stats", 8).output_size(8)
    16
    """
    if kind == "attentive":
        return AttentivePooling(input_size)
    simple = {"mean": MeanPooling, "max": MaxPooling, "stats": StatsPooling}
    if kind not in simple:
        raise ValueError(
            f"pooling is one of attentive, {', '.join(simple)}; got '{kind}'"
        )
    return simple[kind]()
