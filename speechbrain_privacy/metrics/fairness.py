"""Does a system work equally well for everybody?

Error counts per utterance, with the speaker and any groups of the speaker:
rates per group and their gaps, how they spread over speakers; and the same
for what an attacker finds.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from speechbrain_privacy.metrics.comparison import (
    Difference,
    jackknife_difference,
)
from speechbrain_privacy.metrics.trials import SpeakerScores
from speechbrain_privacy.metrics.uncertainty import (
    SMALL_SAMPLE,
    intervals_of,
    ratio_interval,
    score_replicates,
)


@dataclass(frozen=True)
class GroupReport:
    """Rates of groups (errors per word) and how far they lie apart.

    ``gap`` is the rate of the ``worst`` group less that of the ``best`` and
    ``ratio`` their quotient (``None`` if the best makes no error),
    ``speaker_sd`` the standard deviation of the speakers' own rates. With
    more than two groups worst and best were looked up: interval and p-value
    of the gap allow for all pairs (Bonferroni).
    """

    rates: dict
    gap: Difference
    ratio: float | None
    worst: str
    best: str
    speaker_sd: float
    speakers: dict
    warnings: tuple = ()


def group_rates(errors, words, speakers, groups, level=0.95):
    """Error rates by group, the gap between groups, and its interval.

    Arguments
    ---------
    errors, words : array_like
        Per utterance: errors and reference words.
    speakers : array_like
        Per utterance.
    groups : array_like, or list of array_like
        Per utterance; several columns are crossed ("F, US"). Utterances
        with an empty group are left out, and counted in a warning.
    level : float

    Returns
    -------
    GroupReport

    Example
    -------
    >>> report = group_rates(
    ...     [1, 2, 2, 4], [10, 10, 10, 10], list("abcd"), list("FFMM")
    ... )
    >>> report.worst, round(report.gap.value, 3), report.ratio
    ('M', 0.15, 2.0)
    """
    errors, words = np.asarray(errors, float), np.asarray(words, float)
    speakers = np.asarray(speakers)
    names, unknown = crossed(groups)
    check_counts(errors, words, speakers, names)
    warnings = []
    if unknown.any():
        warnings.append(f"{unknown.sum()} utterances have no group: left out")
    known = ~unknown
    errors, words = errors[known], words[known]
    speakers, names = speakers[known], names[known]
    found = sorted(set(names.tolist()))
    if len(found) < 2:
        raise ValueError(
            f"a comparison needs two groups, there is {found or 'none'}"
        )
    rates, members = {}, {}
    for name in found:
        of = names == name
        members[name] = len(np.unique(speakers[of]))
        if members[name] < 2:
            raise ValueError(
                f"group '{name}' has one speaker: its rate is the speaker's"
            )
        if members[name] < SMALL_SAMPLE / 2:
            warnings.append(f"group '{name}' has {members[name]} speakers only")
        rates[name] = ratio_interval(
            errors[of], words[of], speakers[of], level=level
        )
    worst = max(found, key=lambda name: rates[name].value)
    best = min(found, key=lambda name: rates[name].value)
    own = _own_rates(errors, words, speakers)
    low_rate = rates[best].value
    return GroupReport(
        rates=rates,
        gap=_gap_of_rates(errors, words, speakers, names, worst, best, level),
        ratio=float(rates[worst].value / low_rate) if low_rate else None,
        worst=worst,
        best=best,
        speaker_sd=float(np.std(own, ddof=1)),
        speakers=members,
        warnings=tuple(warnings),
    )


def _gap_of_rates(errors, words, speakers, names, worst, best, level):
    values, replicates, strata = [], [], []
    for sign, name in ((1, worst), (-1, best)):
        of = names == name
        _, place = np.unique(speakers[of], return_inverse=True)
        top = np.bincount(place, errors[of])
        bottom = np.bincount(place, words[of])
        values.append(sign * top.sum() / bottom.sum())
        replicates.append(sign * (top.sum() - top) / (bottom.sum() - bottom))
        strata.append(np.full(len(top), sign))
    # Leaving a speaker out changes the rate of one group only.
    replicates = np.concatenate(
        [replicates[0] + values[1], replicates[1] + values[0]]
    )
    return _for_all_pairs(
        len(set(names.tolist())),
        level,
        lambda level: jackknife_difference(
            sum(values), replicates, np.concatenate(strata), level
        ),
    )


def _for_all_pairs(n_groups, level, difference):
    """A difference that was looked up among those of all pairs of groups."""
    n_pairs = n_groups * (n_groups - 1) // 2
    found = difference(1 - (1 - level) / n_pairs)
    return replace(
        found, level=level, p_value=min(1.0, n_pairs * found.p_value)
    )


def crossed(groups):
    """One name per utterance from one or several columns.

    Arguments
    ---------
    groups : array_like, or list of array_like

    Returns
    -------
    names : numpy.ndarray
        The columns' values, joined by ", ".
    unknown : numpy.ndarray
        Boolean, where a value is empty.

    Example
    -------
    >>> crossed([["F", "M"], ["US", ""]])
    (array(['F, US', 'M, '], dtype=object), array([False,  True]))
    """
    first = groups[0]
    several = not isinstance(first, str | bytes) and np.ndim(first) == 1
    columns = [
        np.array([_text(value) for value in column], dtype=object)
        for column in (groups if several else [groups])
    ]
    unknown = np.any([column == "" for column in columns], axis=0)
    names = columns[0]
    for column in columns[1:]:
        names = names + ", " + column
    return names, unknown


def _text(value):
    """The value as text; what is missing is empty."""
    missing = value is None or value != value
    return "" if missing else str(value)


def check_counts(errors, words, speakers, groups):
    """Refuses lists of different length and counts that are none."""
    sizes = {len(errors), len(words), len(speakers), len(groups)}
    if len(sizes) > 1:
        raise ValueError(
            "errors, words, speakers and groups must be of one length, not "
            + ", ".join(map(str, sorted(sizes)))
        )
    if not (np.isfinite(errors).all() and (errors >= 0).all()):
        raise ValueError("an error count is negative, NaN or infinite")
    if (errors != np.round(errors)).any():
        raise ValueError("errors are counts, not rates: whole numbers")
    if not (np.isfinite(words).all() and (words >= 0).all()):
        raise ValueError("a word count is negative, NaN or infinite")


def _own_rates(errors, words, speakers):
    _, place = np.unique(speakers, return_inverse=True)
    bottom = np.bincount(place, words)
    return (np.bincount(place, errors) / np.maximum(bottom, 1e-12))[bottom > 0]


@dataclass(frozen=True)
class OddsGaps:
    """Largest differences between groups of a detector's error rates."""

    miss: float
    false_alarm: float
    rates: dict

    @property
    def equal_odds(self):
        """The larger of the two gaps; 0 is equal odds."""
        return max(self.miss, self.false_alarm)


def equal_odds(decisions, truth, groups):
    """How far decisions are from equal odds (Hardt et al., 2016).

    Arguments
    ---------
    decisions, truth : array_like
        Boolean, per trial or item.
    groups : array_like, or list of array_like
        Per trial; several columns are crossed.

    Returns
    -------
    OddsGaps

    Example
    -------
    >>> equal_odds([1, 1, 0, 0], [1, 0, 1, 0], list("aabb")).equal_odds
    1.0
    """
    decisions, truth = np.asarray(decisions, bool), np.asarray(truth, bool)
    names, unknown = crossed(groups)
    rates = {}
    for name in sorted(set(names[~unknown].tolist())):
        of = names == name
        if truth[of].all() or not truth[of].any():
            raise ValueError(f"group '{name}' has one kind of item only")
        rates[name] = (
            float(np.mean(~decisions[of & truth])),
            float(np.mean(decisions[of & ~truth])),
        )
    if len(rates) < 2:
        raise ValueError(
            f"a comparison needs two groups, there is {len(rates)}"
        )
    miss, alarm = np.ptp(np.array(list(rates.values())), axis=0)
    return OddsGaps(float(miss), float(alarm), rates)


def generalised_entropy(benefits, alpha=2.0):
    """Inequality of benefits over individuals (Speicher et al., KDD 2018).

    Arguments
    ---------
    benefits : array_like
        Positive, one per individual, e.g. words right per word of a speaker.
    alpha : float
        0: mean log deviation, 1: Theil index, 2: half the squared
        coefficient of variation.

    Returns
    -------
    float
        0 if all are equal.

    Example
    -------
    >>> generalised_entropy([1.0, 1.0]), generalised_entropy([1.0, 3.0])
    (0.0, 0.125)
    """
    benefits = np.asarray(benefits, float)
    if (
        benefits.size == 0
        or not (np.isfinite(benefits) & (benefits >= 0)).all()
    ):
        raise ValueError("benefits must be non-negative numbers, one or more")
    if benefits.mean() == 0 or (alpha in (0, 1) and (benefits == 0).any()):
        raise ValueError(f"a benefit of 0 has no entropy with alpha {alpha}")
    x = benefits / benefits.mean()
    if alpha == 0:
        return float(-np.mean(np.log(x)))
    if alpha == 1:
        return float(np.mean(x * np.log(x)))
    return float(np.mean(x**alpha - 1) / (alpha * (alpha - 1)))


@dataclass(frozen=True)
class PrivacyByGroup:
    """What an attacker finds within each group of speakers.

    ``metrics[group][name]`` is an ``Interval`` from trials between speakers
    of the group; ``gaps[name]`` the ``Difference`` of the two groups that
    lie furthest apart, named by ``pairs[name]`` (low, high); with more than
    two groups it allows for all pairs (Bonferroni).
    """

    metrics: dict
    gaps: dict
    pairs: dict


def privacy_by_group(
    scores,
    left,
    right,
    group_of,
    metrics=("eer", "min_cllr", "expected_disclosure"),
    level=0.95,
):
    """Privacy metrics by group of speakers, and the gaps between groups.

    Arguments
    ---------
    scores, left, right : array_like
        Trials, as in ``evaluate_trials``.
    group_of : dict
        Speaker -> group; speakers without one are left out.
    metrics : sequence of str
        Rank metrics.
    level : float

    Returns
    -------
    PrivacyByGroup
    """
    scores, left, right = map(np.asarray, (scores, left, right))
    of_left = np.array([group_of.get(s, "") for s in left.tolist()], object)
    of_right = np.array([group_of.get(s, "") for s in right.tolist()], object)
    groups = sorted(set(of_left[of_left != ""].tolist()))
    if len(groups) < 2:
        raise ValueError(f"a comparison needs two groups, there is {groups}")
    data = {}
    for group in groups:
        of = (of_left == group) & (of_right == group)
        mated = left[of] == right[of]
        if mated.all() or not mated.any():
            raise ValueError(f"group '{group}' has trials of one kind only")
        data[group] = SpeakerScores.of_pairs(scores[of], left[of], right[of])
    estimates, without = {}, {}
    for group, some in data.items():
        estimates[group], without[group] = score_replicates(some, metrics)
        if not all(np.isfinite(v).all() for v in without[group].values()):
            raise ValueError(
                f"group '{group}' has {len(some.speakers)} speakers: too few "
                "for trials of both kinds without any one of them"
            )
    found = {
        group: intervals_of(
            estimates[group],
            without[group],
            len(data[group].speakers),
            level=level,
        )
        for group in groups
    }
    gaps, pairs = {}, {}
    for name in metrics:
        order = sorted(groups, key=lambda group: estimates[group][name])
        low, high = pairs[name] = order[0], order[-1]
        values = estimates[low][name], estimates[high][name]
        # Leaving a speaker out changes the metric of one group only.
        replicates = [
            values[1] - without[low][name],
            without[high][name] - values[0],
        ]
        gaps[name] = _for_all_pairs(
            len(groups),
            level,
            partial(
                jackknife_difference,
                values[1] - values[0],
                np.concatenate(replicates),
                np.repeat([0, 1], [len(some) for some in replicates]),
            ),
        )
    return PrivacyByGroup(found, gaps, pairs)
