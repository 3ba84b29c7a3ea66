"""Noise on hidden frames, with the privacy that it promises.

Each takes and gives what ``bottlenecks.VectorQuantizer`` does.
"""

import math

import torch


class LaplaceNoise(torch.nn.Module):
    """Frames of unit L1 norm with noise: local differential privacy.

    One frame, replaced by any other, changes the probability of what is seen
    by a factor of e^epsilon at most; the sensitivity is 2, the largest L1
    distance of two such frames. This is for one frame: T frames of an
    utterance compose to T * epsilon. Noise is added in evaluation, too: else
    there would be no privacy.

    Source: Shamsabadi et al., "Differentially private speaker anonymization",
    PoPETs 2023 (with the sensitivity of signed vectors).

    Arguments
    ---------
    epsilon : float
        For one frame.
    rescale : bool
        Multiplies by the number of channels afterwards, which changes no
        privacy and keeps numbers in a network's usual range.

    Example
    -------
    >>> hidden, loss = LaplaceNoise(10.0)(torch.randn(2, 9, 8), torch.ones(2))
    >>> hidden.shape, float(loss)
    (torch.Size([2, 9, 8]), 0.0)
    """

    #: Of frames, and of their differences.
    norm = 1
    sensitivity = 2.0

    def __init__(self, epsilon, rescale=True):
        super().__init__()
        if not epsilon > 0:
            raise ValueError(f"epsilon is positive, not {epsilon}")
        self.epsilon = epsilon
        self.rescale = rescale

    @property
    def scale(self):
        """Of the noise."""
        return self.sensitivity / self.epsilon

    def forward(self, hidden, lengths):
        """As ``VectorQuantizer.forward``; the loss is 0."""
        x = self.unit(hidden)
        # The difference of two exponentials is Laplacian.
        ones = torch.empty_like(x).exponential_()
        others = torch.empty_like(x).exponential_()
        x = x + self.scale * (ones - others)
        if self.rescale:
            x = x * x.shape[2]
        return x.to(hidden.dtype), hidden.new_zeros(())

    def log_ratio(self, seen, first, second):
        """How much likelier one input is than another: the best attack on
        noise that is what it says it is.

        Arguments
        ---------
        seen : torch.Tensor
            What came out, ``[..., dim]``.
        first, second : torch.Tensor
            What may have gone in, ``[dim]``.

        Returns
        -------
        torch.Tensor
            Natural logarithms, ``[...]``; within plus and minus epsilon.
        """
        x = self.unscaled(seen)
        far = [(x - self.unit(y)).abs().sum(-1) for y in (first, second)]
        return (far[1] - far[0]) / self.scale

    def at(self, epsilon):
        """The same mechanism with another epsilon."""
        return LaplaceNoise(epsilon, self.rescale)

    def unit(self, frames):
        """Frames of unit norm, as noise is added to them."""
        return _unit(frames, self.norm)

    def unscaled(self, seen):
        """What came out, as it was before it was scaled."""
        return seen / seen.shape[-1] if self.rescale else seen


class GaussianNoise(torch.nn.Module):
    """Frames of unit L2 norm with noise: (epsilon, delta) for one frame.

    The noise is the least that suffices, for any epsilon; the sensitivity is
    2. Added in evaluation, too.

    Source: Balle & Wang, "Improving the Gaussian mechanism for differential
    privacy: analytical calibration and optimal denoising", ICML 2018.

    Arguments
    ---------
    epsilon, delta : float
        For one frame.
    rescale : bool
        Multiplies by the root of the number of channels afterwards.

    Example
    -------
    >>> round(GaussianNoise(1.0, 1e-5).sigma, 2)  # of the classic formula 9.69
    7.46
    """

    #: Of frames, and of their differences.
    norm = 2
    sensitivity = 2.0

    def __init__(self, epsilon, delta=1e-5, rescale=True):
        super().__init__()
        if not (epsilon > 0 and 0 < delta < 1):
            raise ValueError(
                f"epsilon is positive and delta in (0, 1), not {epsilon}, "
                f"{delta}"
            )
        self.epsilon, self.delta = epsilon, delta
        self.rescale = rescale
        self.sigma = gaussian_sigma(epsilon, delta, self.sensitivity)

    def forward(self, hidden, lengths):
        """As ``VectorQuantizer.forward``; the loss is 0."""
        x = self.unit(hidden)
        x = x + self.sigma * torch.randn_like(x)
        if self.rescale:
            x = x * x.shape[2] ** 0.5
        return x.to(hidden.dtype), hidden.new_zeros(())

    def log_ratio(self, seen, first, second):
        """As ``LaplaceNoise.log_ratio``, without bounds."""
        x = self.unscaled(seen)
        far = [(x - self.unit(y)).square().sum(-1) for y in (first, second)]
        return (far[1] - far[0]) / (2 * self.sigma**2)

    def at(self, epsilon):
        """As ``LaplaceNoise.at``, with the same delta."""
        return GaussianNoise(epsilon, self.delta, self.rescale)

    def unit(self, frames):
        """As ``LaplaceNoise.unit``."""
        return _unit(frames, self.norm)

    def unscaled(self, seen):
        """As ``LaplaceNoise.unscaled``."""
        return seen / seen.shape[-1] ** 0.5 if self.rescale else seen


def _unit(frames, norm):
    return torch.nn.functional.normalize(frames.float(), p=norm, dim=-1)


def gaussian_sigma(epsilon, delta, sensitivity=1.0):
    """The least noise that is (epsilon, delta) differentially private.

    Source: Balle & Wang 2018, theorem 8, solved by bisection.

    Arguments
    ---------
    epsilon, delta : float
    sensitivity : float
        In L2.

    Returns
    -------
    float
        Standard deviation.

    Example
    -------
    >>> round(gaussian_sigma(1.0, 1e-5), 3)
    3.731
    """

    def spent(sigma):
        a, b = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
        # e^epsilon overflows where its factor is nothing.
        log_tail = _log_normal(-a - b)
        return math.exp(_log_normal(a - b)) - math.exp(
            min(epsilon + log_tail, 700.0)
        )

    low, high = 1e-6 * sensitivity, sensitivity
    while spent(high) > delta:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > delta else (low, middle)
    return high


def _log_normal(x):
    """Logarithm of the normal distribution function."""
    return float(torch.special.log_ndtr(torch.tensor(x, dtype=torch.float64)))
