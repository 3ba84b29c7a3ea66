"""Intervals over speakers.

Utterances of one speaker are alike, so trials are not independent: what is
resampled is the speaker, on both sides of every trial. Resampling trials
gives intervals that are far too narrow.
"""

from dataclasses import dataclass

import numpy as np

from speechbrain_privacy.metrics.verification import (
    PooledScores,
    eer_from_counts,
)

SMALL_SAMPLE = 20


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile bootstrap interval over speakers."""

    value: float
    low: float
    high: float
    level: float
    n_speakers: int
    n_draws: int
    warning: str = ""

    @classmethod
    def of(cls, value, draws, n_speakers, level=0.95):
        """Makes an interval from an estimate and its bootstrap draws."""
        draws = np.asarray(draws, float)
        usable = draws[np.isfinite(draws)]
        if len(usable) < 0.5 * len(draws):
            raise ValueError(
                f"only {len(usable)} of {len(draws)} bootstrap draws have "
                "trials of both kinds: too few speakers for an interval"
            )
        tail = (1.0 - level) / 2
        low, high = np.quantile(usable, [tail, 1.0 - tail])
        warning = ""
        if n_speakers < SMALL_SAMPLE:
            warning = (
                f"{n_speakers} speakers: bootstrap intervals over fewer than "
                f"{SMALL_SAMPLE} are too narrow"
            )
        return cls(
            float(value),
            float(low),
            float(high),
            level,
            int(n_speakers),
            len(draws),
            warning,
        )


def speaker_draws(n_speakers, n_draws, seed=0, strata=None):
    """How often each speaker occurs in each bootstrap sample.

    Arguments
    ---------
    n_speakers : int
    n_draws : int
    seed : int
    strata : array_like, optional
        A group per speaker; every group keeps its size in every draw.

    Returns
    -------
    numpy.ndarray
        Integers ``[n_draws, n_speakers]``; rows sum to ``n_speakers``.

    Example
    -------
    >>> speaker_draws(5, 3).sum(1)
    array([5, 5, 5])
    """
    if n_speakers < 2:
        raise ValueError(
            f"a bootstrap over speakers needs two or more, got {n_speakers}"
        )
    rng = np.random.default_rng(seed)
    strata = np.zeros(n_speakers) if strata is None else np.asarray(strata)
    draws = np.zeros((n_draws, n_speakers), dtype=np.int64)
    for group in np.unique(strata):
        members = np.flatnonzero(strata == group)
        draws[:, members] = rng.multinomial(
            len(members), np.full(len(members), 1 / len(members)), size=n_draws
        )
    return draws


def bootstrap_pair_eer(scores, left, right, n_draws=1000, seed=0, level=0.95):
    """EER of a list of trials, with a speaker bootstrap on both sides.

    A draw that has a speaker ``a`` times and another ``b`` times counts their
    non-mated trials ``a * b`` times; mated trials of a speaker count ``a``
    times (the copies of a speaker are not compared with each other).

    Arguments
    ---------
    scores : array_like
        ``[n_trials]``, higher = more alike.
    left, right : array_like
        Speakers of the two sides, ``[n_trials]``; equal means mated.
    n_draws, seed, level
        Of the bootstrap.

    Returns
    -------
    Interval

    Example
    -------
    >>> left = ["a", "a", "b", "b", "c", "a"]
    >>> right = ["a", "b", "b", "c", "c", "c"]
    >>> scores = [0.9, 0.1, 0.8, 0.2, 0.7, 0.3]
    >>> bootstrap_pair_eer(scores, left, right, n_draws=50).value
    0.0
    """
    scores = np.asarray(scores, float)
    speakers, places = np.unique(
        np.concatenate([np.asarray(left), np.asarray(right)]),
        return_inverse=True,
    )
    left, right = places[: len(scores)], places[len(scores) :]
    mated = left == right
    pooled = PooledScores(scores[mated], scores[~mated])
    value = eer_from_counts(pooled.mated_counts(), pooled.nonmated_counts())
    draws = speaker_draws(len(speakers), n_draws, seed)
    chunk = max(1, int(2e7) // len(scores))
    rates = [
        eer_from_counts(
            pooled.mated_counts(some[:, left[mated]]),
            pooled.nonmated_counts(
                some[:, left[~mated]] * some[:, right[~mated]]
            ),
        )
        for some in np.array_split(draws, -(-n_draws // chunk))
    ]
    return Interval.of(value, np.concatenate(rates), len(speakers), level)


def bootstrap_group_eer(
    scores, positive, speakers, n_draws=1000, seed=0, level=0.95
):
    """EER of a two-class attacker, with a bootstrap over speakers.

    Arguments
    ---------
    scores : array_like
        ``[n_utterances]``, higher = more like the positive class.
    positive : array_like
        Boolean, ``[n_utterances]``.
    speakers : array_like
        ``[n_utterances]``; each speaker belongs to one class. Classes keep
        their number of speakers in every draw.
    n_draws, seed, level
        Of the bootstrap.

    Returns
    -------
    Interval

    Example
    -------
    >>> bootstrap_group_eer(
    ...     [3, 2, 1, 0], [True, True, False, False], list("abcd"), n_draws=9
    ... ).value
    0.0
    """
    scores, positive = np.asarray(scores, float), np.asarray(positive, bool)
    names, place = np.unique(np.asarray(speakers), return_inverse=True)
    pooled = PooledScores(scores[positive], scores[~positive])
    value = eer_from_counts(pooled.mated_counts(), pooled.nonmated_counts())
    group = np.zeros(len(names), dtype=bool)
    group[place[positive]] = True
    if group[place[~positive]].any():
        raise ValueError("a speaker occurs in both classes")
    draws = speaker_draws(len(names), n_draws, seed, strata=group)
    weights = draws[:, place]
    rates = eer_from_counts(
        pooled.mated_counts(weights[:, positive]),
        pooled.nonmated_counts(weights[:, ~positive]),
    )
    return Interval.of(value, rates, len(names), level)


def bootstrap_ratio(
    numerator, denominator, speakers, n_draws=1000, seed=0, level=0.95
):
    """A ratio of sums (a word error rate), with a bootstrap over speakers.

    Arguments
    ---------
    numerator, denominator : array_like
        Per utterance, e.g. errors and reference words.
    speakers : array_like
        Per utterance.
    n_draws, seed, level
        Of the bootstrap.

    Returns
    -------
    Interval

    Example
    -------
    >>> bootstrap_ratio([1, 0, 1], [4, 4, 4], list("abc"), n_draws=20).n_speakers
    3
    """
    names, place = np.unique(np.asarray(speakers), return_inverse=True)
    top = np.bincount(place, np.asarray(numerator, float))
    bottom = np.bincount(place, np.asarray(denominator, float))
    if bottom.sum() <= 0:
        raise ValueError("a ratio needs a positive denominator")
    draws = speaker_draws(len(names), n_draws, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = (draws @ top) / (draws @ bottom)
    return Interval.of(top.sum() / bottom.sum(), rates, len(names), level)
