"""Schedules: training progress in [0, 1] -> a multiplier.

A schedule has no state. Its value follows from the progress alone, so a
resumed run sees the value that an uninterrupted one would have seen. The same
objects drive the weight of a gradient reversal and the learning rate.
"""

import math


def _checked(progress):
    if not 0.0 <= progress <= 1.0:
        raise ValueError(
            f"progress is the finished fraction of training, in [0, 1]; "
            f"got {progress}"
        )
    return progress


class Constant:
    """The same multiplier during the whole training.

    Arguments
    ---------
    value : float
        The multiplier.

    Example
    -------
    >>> Constant(0.5)(0.3)
    0.5
    """

    def __init__(self, value=1.0):
        self.value = value

    def __call__(self, progress):
        """Returns the multiplier at ``progress`` in [0, 1]."""
        _checked(progress)
        return self.value


class DannRamp:
    """The ramp ``2 / (1 + exp(-gamma p)) - 1`` from 0 towards 1.

    Source: Ganin et al., "Domain-Adversarial Training of Neural Networks",
    JMLR 2016, section 5.2.2.

    Arguments
    ---------
    gamma : float
        Steepness; the paper uses 10.
    delay : float
        Fraction of training before the ramp begins, in [0, 1). The ramp then
        runs over what is left.

    Example
    -------
    >>> ramp = DannRamp(gamma=10)
    >>> ramp(0.0), round(ramp(0.1), 4), round(ramp(1.0), 4)
    (0.0, 0.4621, 0.9999)
    """

    def __init__(self, gamma=10.0, delay=0.0):
        if not 0.0 <= delay < 1.0:
            raise ValueError(f"delay must lie in [0, 1), got {delay}")
        self.gamma = gamma
        self.delay = delay

    def __call__(self, progress):
        """Returns the multiplier at ``progress`` in [0, 1]."""
        p = max(0.0, _checked(progress) - self.delay) / (1.0 - self.delay)
        return 2.0 / (1.0 + math.exp(-self.gamma * p)) - 1.0


class WarmUp:
    """Zero before ``start``, linear until ``end``, then one.

    Arguments
    ---------
    start : float
        Progress at which the multiplier leaves zero.
    end : float
        Progress from which it stays at one.

    Example
    -------
    >>> warm = WarmUp(start=0.2, end=0.4)
    >>> [round(warm(p), 2) for p in (0.1, 0.3, 0.9)]
    [0.0, 0.5, 1.0]
    """

    def __init__(self, start=0.0, end=0.1):
        if not 0.0 <= start < end <= 1.0:
            raise ValueError(
                f"need 0 <= start < end <= 1, got start={start}, end={end}"
            )
        self.start = start
        self.end = end

    def __call__(self, progress):
        """Returns the multiplier at ``progress`` in [0, 1]."""
        p = (_checked(progress) - self.start) / (self.end - self.start)
        return min(1.0, max(0.0, p))


class WarmupCosine:
    """Linear warm-up, then half a cosine down to ``floor``.

    Arguments
    ---------
    warmup : float
        Fraction of training spent on the linear rise, in [0, 1).
    floor : float
        Value at the end of training.

    Example
    -------
    >>> rate = WarmupCosine(warmup=0.1)
    >>> [round(rate(p), 3) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(self, warmup=0.1, floor=0.0):
        if not 0.0 <= warmup < 1.0:
            raise ValueError(f"warmup must lie in [0, 1), got {warmup}")
        self.warmup = warmup
        self.floor = floor

    def __call__(self, progress):
        """Returns the multiplier at ``progress`` in [0, 1]."""
        p = _checked(progress)
        if p < self.warmup:
            return p / self.warmup
        p = (p - self.warmup) / (1.0 - self.warmup)
        return self.floor + (1.0 - self.floor) * 0.5 * (
            1.0 + math.cos(math.pi * p)
        )
