"""What encoders of others need beside their own layers."""

import torch

from speechbrain_privacy.nnet.pooling import frames_mask


def normalised(x, counts, eps):
    """Zero mean and unit variance over time, of what is not padding.

    Arguments
    ---------
    x : torch.Tensor
        ``[batch, time]`` or ``[batch, channels, time]``.
    counts : torch.Tensor
        Valid frames (or samples), ``[batch]``.
    eps : float
        Added to the variance.

    Returns
    -------
    torch.Tensor
        The shape of ``x``; what padding becomes means nothing.

    Example
    -------
    >>> x = torch.tensor([[1.0, 3.0, 9.0]])
    >>> normalised(x, torch.tensor([2]), 0.0)[0, :2].tolist()
    [-1.0, 1.0]
    """
    padding, count = ~frames_mask(counts, x.shape[-1]), counts[:, None]
    if x.dim() == 3:
        padding, count = padding.unsqueeze(1), count.unsqueeze(1)
    x = x - x.masked_fill(padding, 0.0).sum(-1, keepdim=True) / count
    var = x.masked_fill(padding, 0.0).square().sum(-1, keepdim=True) / count
    return x * torch.rsqrt(var + eps)


class UnpaddedGroupNorm(torch.nn.Module):
    """A group norm over time, one group for each channel, that leaves padding
    out: with the weights of the one it replaces.

    Arguments
    ---------
    norm : torch.nn.GroupNorm
        As many groups as channels.

    Example
    -------
    >>> norm = UnpaddedGroupNorm(torch.nn.GroupNorm(3, 3))
    >>> norm.counts = torch.tensor([7, 4])
    >>> x = torch.rand(2, 3, 7)
    >>> alone = torch.nn.GroupNorm(3, 3)(x[1:, :, :4])
    >>> bool(torch.allclose(norm(x)[1:, :, :4], alone, atol=1e-6))
    True
    """

    def __init__(self, norm):
        super().__init__()
        if norm.num_groups != norm.num_channels:
            raise ValueError(
                f"{norm.num_groups} groups of {norm.num_channels} channels: "
                "only norms of single channels are known"
            )
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        #: Valid frames of each utterance of the batch that comes next.
        self.counts = None

    def forward(self, x):
        """``x [batch, channels, time]`` -> the same shape."""
        # In full precision, as autocast does with the norm that was here.
        y = normalised(x.float(), self.counts, self.eps)
        y = y * self.weight[:, None] + self.bias[:, None]
        return y.to(x.dtype)


class LayerSum(torch.nn.Module):
    """A learnt weighted sum of layers.

    Source: Yang et al., "SUPERB: Speech Processing Universal PERformance
    Benchmark", Interspeech 2021.

    Arguments
    ---------
    n_layers : int

    Example
    -------
    >>> layers = [torch.zeros(1, 2, 3), torch.ones(1, 2, 3)]
    >>> float(LayerSum(2)(layers).mean().detach())
    0.5
    """

    def __init__(self, n_layers):
        super().__init__()
        self.scores = torch.nn.Parameter(torch.zeros(n_layers))

    @property
    def weights(self):
        """Of each layer; they sum to one."""
        return self.scores.softmax(0)

    def forward(self, layers):
        """Tensors ``[batch, time, dim]`` -> one of that shape."""
        return sum(
            weight * x for weight, x in zip(self.weights, layers, strict=True)
        )
