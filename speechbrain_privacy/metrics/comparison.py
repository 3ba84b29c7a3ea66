"""Is a difference real, and what would nothing look like?

Paired differences of two systems by the delete-one-speaker jackknife, and
permutation nulls.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from speechbrain_privacy.metrics.scores import PooledScores
from speechbrain_privacy.metrics.uncertainty import (
    score_replicates,
    standard_error,
    sums_by_speaker,
)


@dataclass(frozen=True)
class Difference:
    """A paired difference, b - a, its interval and two-sided p-value."""

    value: float
    low: float
    high: float
    p_value: float
    level: float
    n_speakers: int


@dataclass(frozen=True)
class Null:
    """What a metric is when the scores tell nothing: mean and range."""

    mean: float
    low: float
    high: float
    level: float
    n_permutations: int


def paired_difference(a, b, metric="eer", strata=None, level=0.95):
    """Does b differ from a? Two attackers or systems on the same trials.

    Arguments
    ---------
    a, b : SpeakerScores
        With the same speakers.
    metric : str or callable
        A rank metric, or ``f(blocks)``.
    strata : array_like, optional
        A group per speaker.
    level : float

    Returns
    -------
    Difference
        Of the jackknife over speakers, with Student quantiles.
    """
    if not np.array_equal(a.speakers, b.speakers):
        raise ValueError(
            "a paired comparison needs the same speakers on both sides"
        )
    metrics = {"metric": metric} if callable(metric) else [metric]
    values, replicates = zip(
        *(
            [
                next(iter(part.values()))
                for part in score_replicates(data, metrics)
            ]
            for data in (a, b)
        )
    )
    return jackknife_difference(
        values[1] - values[0], replicates[1] - replicates[0], strata, level
    )


def paired_ratio_difference(a, b, denominator, speakers, level=0.95):
    """The same for two ratios of sums over the same utterances.

    Arguments
    ---------
    a, b : array_like
        Errors of two systems, per utterance.
    denominator, speakers : array_like
        As in ``ratio_interval``.
    level : float

    Returns
    -------
    Difference

    Example
    -------
    >>> found = paired_ratio_difference(
    ...     [3, 2, 4, 3], [1, 1, 2, 1], [9, 9, 9, 9], list("abcd")
    ... )
    >>> found.value < 0, found.p_value < 0.05
    (True, True)
    """
    errors = np.asarray(b, float) - np.asarray(a, float)
    top, bottom, _ = sums_by_speaker(errors, denominator, speakers)
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = (top.sum() - top) / (bottom.sum() - bottom)
    return jackknife_difference(
        top.sum() / bottom.sum(), replicates, None, level
    )


def jackknife_difference(value, replicates, strata=None, level=0.95):
    """A difference from its values without each speaker.

    Arguments
    ---------
    value : float
    replicates : numpy.ndarray
        The difference without speaker i, ``[n_speakers]``.
    strata : array_like, optional
        A group per speaker.
    level : float

    Returns
    -------
    Difference
    """
    n = len(replicates)
    if not np.isfinite(replicates).all():
        raise ValueError(
            "without some one speaker there are no trials of both kinds: too "
            "few speakers to compare"
        )
    error, freedom = standard_error(replicates, strata)
    half = student.ppf((1 + level) / 2, freedom) * error
    if error > 0:
        p_value = 2 * student.sf(abs(value) / error, freedom)
    else:
        # Every speaker agrees: no surer than a sign test of them all.
        p_value = 1.0 if value == 0 else 2.0 ** (1 - n)
    return Difference(
        float(value),
        float(value - half),
        float(value + half),
        float(p_value),
        level,
        n,
    )


def permutation_null(
    mated, nonmated, metrics, n_permutations=200, seed=0, level=0.95
):
    """What metrics come to if the scores tell nothing.

    Which trials are mated is shuffled: D_sys, for one, is not 0 then. The
    trials are taken as independent; with several utterances of a speaker the
    true null is wider.

    Arguments
    ---------
    mated, nonmated : array_like
    metrics : dict
        Name -> ``f(pooled scores)``.
    n_permutations, seed : int
    level : float
        Of the central range.

    Returns
    -------
    dict
        Name -> ``Null``.

    Example
    -------
    >>> from speechbrain_privacy.metrics.disclosure import linkability
    >>> rng = np.random.default_rng(0)
    >>> null = permutation_null(
    ...     rng.normal(size=500) + 9,
    ...     rng.normal(size=2000),
    ...     {"linkability": linkability},
    ...     n_permutations=20,
    ... )
    >>> 0.02 < null["linkability"].mean < 0.12
    True
    """
    scores = np.concatenate([np.asarray(mated), np.asarray(nonmated)])
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_permutations):
        rng.shuffle(scores)
        pooled = PooledScores(scores[: len(mated)], scores[len(mated) :])
        found.append([f(pooled) for f in metrics.values()])
    return {
        name: null_of(values, level)
        for name, values in zip(metrics, np.array(found).T)
    }


def null_of(values, level=0.95):
    """Summarises a metric's values under permutation, as a ``Null``."""
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Null(
        float(np.mean(values)), float(low), float(high), level, len(values)
    )
