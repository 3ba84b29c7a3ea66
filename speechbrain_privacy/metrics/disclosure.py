"""What an attacker's scores disclose about who spoke.

Distances between the two score distributions (linkability), and between the
attacker's knowledge and its prior (disclosure).
"""

import numpy as np

from speechbrain_privacy.metrics.scores import pool_adjacent_violators


def local_linkability(pooled, omega=1.0, n_bins=None):
    """How surely a score says "mated", along the axis of the scores.

    After Gomez-Barrero et al., "General framework to evaluate unlinkability
    in biometric template protection systems", IEEE TIFS 2018: D(s) =
    max(0, 2 w LR / (1 + w LR) - 1), from histograms of equal bins.

    Arguments
    ---------
    pooled : PooledScores
    omega : float
        Prior ratio of mated to non-mated trials.
    n_bins : int, optional
        Default: a tenth of the mated trials, at most 100.

    Returns
    -------
    edges : numpy.ndarray
        ``[n_bins + 1]``.
    local : numpy.ndarray
        D in each bin, ``[n_bins]``; 0 where there are no mated trials.
    share : numpy.ndarray
        Share of the mated trials in each bin, ``[n_bins]``.

    Raises
    ------
    ArithmeticError
        With fewer than ten mated trials there is no histogram.
    """
    if not omega > 0:
        raise ValueError(f"omega is {omega}; a prior ratio is positive")
    edges = pooled.bin_edges(n_bins)
    mated, nonmated = (
        _histogram(scores, edges) / len(scores)
        for scores in (pooled.mated, pooled.nonmated)
    )
    return edges, linkability_of(mated, nonmated, omega), mated


def _histogram(ordered, edges):
    """Counts of a sorted list; the last bin has both of its ends."""
    places = np.searchsorted(ordered, edges)
    places[-1] = len(ordered)
    return np.diff(places).astype(float)


def linkability_of(mated, nonmated, omega=1.0):
    """D for rates of mated and of non-mated trials in each bin.

    Arguments
    ---------
    mated, nonmated : numpy.ndarray
        Shares of their kind, ``[n_bins]``.
    omega : float

    Returns
    -------
    numpy.ndarray
        ``[n_bins]``, in [0, 1].
    """
    total = omega * mated + nonmated
    return np.maximum(
        0.0,
        np.divide(
            omega * mated - nonmated,
            total,
            out=np.zeros_like(total),
            where=total > 0,
        ),
    )


def linkability(pooled, omega=1.0, n_bins=None, integration="sum"):
    """Global linkability D_sys: the mean of D over the mated trials.

    At zero leakage it is not 0 but about .04 to .06, since a histogram of
    finite lists is never flat: put a permutation null beside it.

    Arguments
    ---------
    pooled : PooledScores
    omega, n_bins
        As in ``local_linkability``.
    integration : str
        ``"sum"`` is the mean itself. ``"trapezoid"`` integrates between the
        centres of the bins, which drops half of the two end bins: as the
        reference code (Maouche et al., Interspeech 2020) does.

    Returns
    -------
    float
        From 0 to 1; 0 where all scores are equal.

    Example
    -------
    >>> from speechbrain_privacy.metrics.scores import PooledScores
    >>> linkability(PooledScores(np.arange(50) + 100, np.arange(50)))
    1.0
    """
    if integration not in ("sum", "trapezoid"):
        raise ValueError(
            f"integration is '{integration}'; it is 'sum' or 'trapezoid'"
        )
    _, local, share = local_linkability(pooled, omega, n_bins)
    values = local * share
    if integration == "trapezoid":
        # Bins of equal width: densities times widths are shares.
        values = (values[1:] + values[:-1]) / 2
    return float(values.sum())


def expected_disclosure(blocks):
    """Expected privacy disclosure D_ECE, in bits.

    The area between the default and the minimum empirical cross-entropy
    over all priors (Nautsch et al., "The privacy ZEBRA", Interspeech 2020),
    in closed form.

    Arguments
    ---------
    blocks : Blocks

    Returns
    -------
    float
        From 0 (nothing is disclosed) to 1 / (2 ln 2) = 0.7213...

    Example
    -------
    >>> from speechbrain_privacy.metrics.scores import PooledScores
    >>> round(expected_disclosure(PooledScores([1, 2], [0, 0]).blocks()), 4)
    0.7213
    """
    mated, nonmated = blocks.pav.rates
    llr = blocks.pav.llr
    left = 0.0
    for share, value in ((mated, llr), (nonmated, -llr)):
        used = share > 0
        left += share[used] @ _entropy_left(value[used])
    return float((0.5 - left) / np.log(2.0))


def _entropy_left(llr):
    """Integral over priors p of p ln(1 + e^-l (1 - p) / p), for l > -inf.

    It is (e^l - 1 - l) / (2 (e^l - 1)^2): 1/4 at l = 0, falling to 0.
    """
    result = np.empty_like(llr)
    small = np.abs(llr) < 1e-3
    x = llr[small]
    result[small] = 0.25 - x / 6 + x * x / 24
    positive = (llr > 0) & ~small
    x = llr[positive]
    a = np.exp(-x)
    with np.errstate(invalid="ignore"):
        ax = np.where(np.isinf(x), 0.0, a * x)
    result[positive] = a * (1 - a - ax) / (2 * (1 - a) ** 2)
    negative = (llr < 0) & ~small
    x = llr[negative]
    grown = np.expm1(x)
    result[negative] = (grown - x) / (2 * grown * grown)
    return result


def worst_case_disclosure(blocks):
    """The strongest evidence in a list, as a log10 likelihood ratio.

    The largest absolute calibrated log-likelihood ratio, with one mated and
    one non-mated trial added beyond both ends (Laplace's rule of
    succession), so that it is finite. It grows with the length of the list:
    compare lists of one size only.

    Arguments
    ---------
    blocks : Blocks

    Returns
    -------
    float
        0 if the scores disclose nothing.

    Example
    -------
    >>> from speechbrain_privacy.metrics.scores import PooledScores
    >>> blocks = PooledScores([5, 6, 7, 8], [1, 2, 3, 4]).blocks()
    >>> round(worst_case_disclosure(blocks), 5)  # log10(5)
    0.69897
    """
    n_mated, n_nonmated = blocks.totals
    pav = pool_adjacent_violators(
        np.concatenate([[1.0, 0.0], blocks.mated, [1.0, 0.0]]),
        np.concatenate([[0.0, 1.0], blocks.nonmated, [0.0, 1.0]]),
    )
    odds = np.log10(pav.mated / pav.nonmated)
    # The added ones lie in the end segments; alone there, they are no trial.
    seen = pav.mated + pav.nonmated
    seen[0] -= 2
    seen[-1] -= 2
    evidence = np.abs(odds - np.log10(n_mated / n_nonmated))
    return float(np.max(evidence[seen > 0]))
