"""Gradient reversal: identity forward, ``-weight * gradient`` backward.

Source: Ganin & Lempitsky, "Unsupervised Domain Adaptation by
Backpropagation", ICML 2015.
"""

import torch

from speechbrain_privacy.nnet.schedules import Constant, DannRamp, WarmUp

__all__ = [
    "Constant",
    "DannRamp",
    "GradientReversal",
    "WarmUp",
    "reverse_gradient",
]


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        # Not save_for_backward: a tensor weight is read when the gradient
        # passes, so that a caller may still set it after the losses are known.
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * -ctx.weight, None


def reverse_gradient(x, weight=1.0):
    """Returns ``x``; its gradient comes back times ``-weight``.

    Arguments
    ---------
    x : torch.Tensor
        Any shape.
    weight : float or torch.Tensor
        Non-negative. A 0-dim tensor is read at backward time.

    Returns
    -------
    torch.Tensor
        Same values and shape as ``x``.

    Example
    -------
    >>> x = torch.ones(2, requires_grad=True)
    >>> reverse_gradient(x, 0.5).sum().backward()
    >>> x.grad
    tensor([-0.5000, -0.5000])
    """
    return _Reverse.apply(x, weight)


class GradientReversal(torch.nn.Module):
    """Gradient reversal with a weight that follows training progress.

    Arguments
    ---------
    weight : float
        Weight at full strength; must not be negative.
    schedule : callable, optional
        Progress in [0, 1] -> multiplier of ``weight``
        (``Constant``, ``DannRamp``, ``WarmUp``). Default: constant 1.

    Example
    -------
    >>> reversal = GradientReversal(weight=2.0, schedule=DannRamp())
    >>> _ = reversal.set_progress(1.0)
    >>> x = torch.ones(1, requires_grad=True)
    >>> reversal(x).backward()
    >>> round(x.grad.item(), 3)
    -2.0
    """

    def __init__(self, weight=1.0, schedule=None):
        super().__init__()
        if weight < 0:
            raise ValueError(f"a reversal weight is >= 0, got {weight}")
        self.weight = weight
        self.schedule = schedule if schedule is not None else Constant()
        self.multiplier = self.schedule(0.0)

    def set_progress(self, progress):
        """Moves the schedule to ``progress`` in [0, 1]; returns the weight."""
        self.multiplier = self.schedule(progress)
        return self.effective_weight

    @property
    def effective_weight(self):
        """Weight times the schedule's present multiplier."""
        return self.weight * self.multiplier

    def forward(self, x):
        """Returns ``x`` (any shape) with its gradient reversed."""
        return reverse_gradient(x, self.effective_weight)
