"""What encoders of others need beside their own layers."""

import torch

from speechbrain_privacy.nnet.pooling import frames_mask


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
        valid = frames_mask(self.counts, x.shape[2]).unsqueeze(1)
        count = self.counts.to(torch.float32).clamp(min=1)[:, None, None]
        # In full precision, as autocast does with the norm that was here.
        y = x.float()
        mean = y.masked_fill(~valid, 0.0).sum(2, keepdim=True) / count
        y = y - mean
        var = y.masked_fill(~valid, 0.0).square().sum(2, keepdim=True) / count
        y = y * torch.rsqrt(var + self.eps)
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
