"""What an attacker's scores disclose about who spoke.

Distances between the two score distributions (linkability), between the
attacker's knowledge and its prior (disclosure), and the legal criteria
"singling out" and "linkability" on matrices of scores.
"""

import numpy as np
from scipy.special import gammaln

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


def linking_probability(scores, n_speakers=None):
    """Chance that a test item is linked to its own enrolment.

    Legal criterion "linkability" (Vauquier et al., "Legally validated
    evaluation framework for voice anonymization", Interspeech 2025): the
    own enrolment scores higher than ``n_speakers - 1`` others. Others are
    drawn without replacement; here the expectation over all draws is exact.
    A tie is shared: with the j enrolments that score the same and are drawn,
    the chance is 1 / (j + 1).

    Arguments
    ---------
    scores : array_like
        ``[test, enrolment]``, item i's own enrolment in column i; more
        columns than rows are further speakers.
    n_speakers : int, optional
        Size of the set that is searched. Default: all enrolments.

    Returns
    -------
    numpy.ndarray
        One probability per test item; its mean is the metric. Guessing:
        1 / ``n_speakers``.

    Example
    -------
    >>> scores = [[0.9, 0.1, 0.2], [0.8, 0.7, 0.1], [0.0, 0.1, 0.6]]
    >>> linking_probability(scores, 2)
    array([1. , 0.5, 1. ])
    """
    scores = _score_matrix(scores)
    n_rows, n_columns = scores.shape
    n_speakers = n_columns if n_speakers is None else n_speakers
    if not 1 <= n_speakers <= n_columns:
        raise ValueError(
            f"{n_speakers} speakers cannot be drawn from {n_columns} enrolments"
        )
    own = scores[np.arange(n_rows), np.arange(n_rows)][:, None]
    above = (scores > own).sum(1)
    equal = (scores == own).sum(1) - 1
    drawn, others = n_speakers - 1, n_columns - 1
    none_above = _none_drawn(above, others, drawn)
    result = none_above.copy()
    for i in np.flatnonzero((equal > 0) & (none_above > 0)):
        # No better one is drawn, and j of the ties are.
        rest = others - above[i]
        j = np.arange(min(equal[i], drawn) + 1)
        chance = np.exp(
            _log_choose(equal[i], j)
            + _log_choose(rest - equal[i], drawn - j)
            - _log_choose(rest, drawn)
        )
        result[i] = none_above[i] * np.sum(chance / (j + 1))
    return result


def _log_choose(n, k):
    """Log of the binomial coefficient, -inf where it is 0."""
    n, k = np.broadcast_arrays(np.asarray(n, float), np.asarray(k, float))
    possible = (k >= 0) & (k <= n)
    result = np.full(n.shape, -np.inf)
    n, k = n[possible], k[possible]
    result[possible] = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return result


def _none_drawn(marked, total, drawn):
    """Chance that none of some marked items is among those drawn."""
    return np.exp(
        _log_choose(total - marked, drawn) - _log_choose(total, drawn)
    )


def singling_out_probability(
    scores, calibration, n_speakers=None, n_runs=100, seed=0
):
    """Chance that a predicate isolates exactly one speaker.

    Legal criterion "singling out" (Vauquier et al., 2025, after Cohen and
    Nissim's predicate singling out): an enrolment and a threshold make a
    predicate "its score is higher"; it isolates if it holds for exactly one
    of ``n_speakers`` test items, whosever. The threshold lets as many of the
    calibration items of the same speakers pass as each of them has, so that
    the predicate is expected to hold once. A random predicate with this
    expectation isolates with chance 1/e = 0.37. That is the level of guessing
    with many calibration items; with few the threshold is unsure, and it is
    lower (about 0.29 with one item of each of ten speakers, 0.35 with five):
    run the same sizes on shuffled scores to know.

    Arguments
    ---------
    scores : array_like
        ``[enrolment, test]``; enrolment i is the speaker of column i.
    calibration : array_like
        ``[enrolment, test speaker, items]``: other items of the same
        speakers.
    n_speakers : int, optional
        Size of a set, the own speaker included. Default: all (one run).
    n_runs : int
        Random sets of speakers for each enrolment.
    seed : int

    Returns
    -------
    numpy.ndarray
        Share of the runs in which each enrolment isolated; its mean is the
        metric.
    """
    scores = _score_matrix(scores)
    calibration = np.asarray(calibration, float)
    n_rows, n_columns = scores.shape
    if calibration.shape[:2] != scores.shape or calibration.ndim != 3:
        raise ValueError(
            f"scores are {n_rows} x {n_columns}; calibration scores must be "
            f"{n_rows} x {n_columns} x items, not "
            f"{' x '.join(map(str, calibration.shape))}"
        )
    if not np.isfinite(calibration).all():
        raise ValueError("a calibration score is NaN or infinite")
    n_speakers = n_columns if n_speakers is None else n_speakers
    if not 2 <= n_speakers <= n_columns:
        raise ValueError(
            f"{n_speakers} speakers cannot be drawn from {n_columns}"
        )
    n_runs = 1 if n_speakers == n_columns else n_runs
    n_items = calibration.shape[2]
    rng = np.random.default_rng(seed)
    isolated = np.zeros(n_rows)
    for i in range(n_rows):
        # Every run at once: the smallest random keys, the own one always.
        keys = rng.random((n_runs, n_columns))
        keys[:, i] = -1.0
        chosen = np.argpartition(keys, n_speakers - 1, axis=1)[:, :n_speakers]
        known = calibration[i][chosen].reshape(n_runs, -1)
        top = np.partition(known, -(n_items + 1), axis=1)[:, -(n_items + 1) :]
        top.sort(axis=1)
        threshold = (top[:, 0] + top[:, 1]) / 2
        fired = (scores[i][chosen] > threshold[:, None]).sum(1)
        isolated[i] = np.mean(fired == 1)
    return isolated


def _score_matrix(scores):
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or scores.shape[0] > scores.shape[1]:
        raise ValueError(
            "scores must be a matrix with one row for each of its first "
            f"columns, not {' x '.join(map(str, scores.shape))}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("a score is NaN or infinite")
    return scores
