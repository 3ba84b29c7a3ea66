"""How well an attacker verifies speakers, from its scores.

Equal error rates, cost functions and the logarithmic ones; ``evaluate_scores``
computes all of them, and the disclosure metrics, from one sort.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np

from speechbrain_privacy.metrics.disclosure import (
    expected_disclosure,
    linkability,
    worst_case_disclosure,
)
from speechbrain_privacy.metrics.scores import PooledScores

#: Fewer trials of a kind make every number below unsteady.
FEW_TRIALS = 30
#: An AUC below this is no accident: lower scores mean more alike.
TURNED = 0.4


def eer(blocks):
    """Equal error rate, SpeechBrain's definition.

    The mean of miss and false-alarm rate at the threshold where the two are
    closest; a trial is rejected when its score is at most the threshold.

    Arguments
    ---------
    blocks : Blocks

    Returns
    -------
    float
        In [0, 1]; 0.5 is guessing.

    Example
    -------
    >>> eer(PooledScores([0.6, 0.7, 0.8, 0.5], [0.4, 0.3, 0.1, 0.65]).blocks())
    0.25
    """
    n_mated, n_nonmated = blocks.totals
    missed = np.cumsum(blocks.mated)
    rejected = np.cumsum(blocks.nonmated)
    # Over a common denominator counts stay whole, and equal gaps are equal:
    # the first of them counts, whatever the rounding. It never falls.
    gap = missed * n_nonmated - (n_nonmated - rejected) * n_mated
    at = min(int(np.searchsorted(gap, 0.0)), len(gap) - 1)
    mated, nonmated = blocks.inside(at)
    steps = max(len(mated), len(nonmated))
    start = (missed[at - 1], rejected[at - 1]) if at else (0.0, 0.0)
    missed, rejected = (
        first + np.concatenate([[0.0], np.cumsum(_filled(weights, steps))])
        for first, weights in zip(start, (mated, nonmated))
    )
    gap = missed * n_nonmated - (n_nonmated - rejected) * n_mated
    best = np.argmin(np.abs(gap))
    accepted = n_nonmated - rejected[best]
    return float(missed[best] / n_mated + accepted / n_nonmated) / 2


def _filled(weights, size):
    return weights if len(weights) else np.zeros(size)


def interpolated_eer(blocks):
    """Where the ROC curve, drawn with straight lines, crosses equal rates.

    Arguments
    ---------
    blocks : Blocks

    Returns
    -------
    float
        In [0, 1]. Tied scores are a slanted line.

    Example
    -------
    >>> interpolated_eer(PooledScores([1, 2, 3], [0, 0, 1]).blocks())
    0.16666666666666666
    """
    n_mated, n_nonmated = blocks.totals
    return _crossing(
        np.concatenate([[0.0], np.cumsum(blocks.mated)]) / n_mated,
        1.0 - np.concatenate([[0.0], np.cumsum(blocks.nonmated)]) / n_nonmated,
    )


def rocch_eer(blocks):
    """Equal error rate of the ROC convex hull.

    At most ``interpolated_eer``: a mixture of thresholds may do better than
    any single one (Brummer and de Villiers, BOSARIS, 2011).

    Arguments
    ---------
    blocks : Blocks

    Returns
    -------
    float
        In [0, 0.5].
    """
    return _crossing(*blocks.pav.vertices)


def _crossing(miss, alarm):
    """Where a falling and a rising broken line meet."""
    gap = miss - alarm
    after = max(1, min(int(np.searchsorted(gap, 0.0)), len(gap) - 1))
    before = after - 1
    t = -gap[before] / (gap[after] - gap[before])
    return float(miss[before] + t * (miss[after] - miss[before]))


def cllr(mated, nonmated):
    """Cost of log-likelihood ratios, in bits (Brummer and du Preez, 2006).

    Arguments
    ---------
    mated, nonmated : array_like
        Scores read as natural-log likelihood ratios: not for cosines. The
        metric is 1 for a system that always says 0, and unbounded.

    Returns
    -------
    float

    Example
    -------
    >>> cllr([0.0], [0.0])
    1.0
    """
    mated, nonmated = np.asarray(mated, float), np.asarray(nonmated, float)
    return (
        cllr_sum(mated, -1.0) / mated.size
        + cllr_sum(nonmated, 1.0) / nonmated.size
    ) / 2


def cllr_sum(scores, sign):
    """Sum of log2(1 + e^(sign * s)) over scores s, in little memory."""
    scores = np.asarray(scores, float).reshape(-1)
    total = 0.0
    for start in range(0, len(scores), 1 << 15):
        x = sign * scores[start : start + (1 << 15)]
        total += np.maximum(x, 0).sum() + np.log1p(np.exp(-np.abs(x))).sum()
    return float(total / np.log(2.0))


def min_cllr(blocks):
    """Cllr after the best monotone calibration, in bits.

    Arguments
    ---------
    blocks : Blocks

    Returns
    -------
    float
        From 0 (the attacker separates all trials) to 1 (no information).

    Example
    -------
    >>> min_cllr(PooledScores([1, 1], [1, 1]).blocks())
    1.0
    """
    mated, nonmated = blocks.pav.rates
    both = mated + nonmated
    # log2(1 + e^-llr) = log2((mated + nonmated) / mated): no infinities.
    cost = sum(
        np.sum(part[part > 0] * np.log2(both[part > 0] / part[part > 0]))
        for part in (mated, nonmated)
    )
    return float(cost / 2)


def auc(blocks):
    """Area under the ROC curve; tied trials count half.

    Arguments
    ---------
    blocks : Blocks

    Returns
    -------
    float
        Chance that a mated trial scores higher than a non-mated one.
    """
    n_mated, n_nonmated = blocks.totals
    below = np.cumsum(blocks.nonmated) - blocks.nonmated / 2
    return float(blocks.mated @ below / n_mated / n_nonmated)


def min_dcf(blocks, prior=0.01, miss_cost=1.0, alarm_cost=1.0):
    """Minimum of the normalised detection cost over all thresholds.

    Arguments
    ---------
    blocks : Blocks
    prior : float
        Probability of a mated trial.
    miss_cost, alarm_cost : float

    Returns
    -------
    float
        In [0, 1]; 1 is the cost of always deciding the same.
    """
    miss_weight, alarm_weight = _cost_weights(prior, miss_cost, alarm_cost)
    miss, alarm = blocks.pav.vertices
    return float(np.min(miss_weight * miss + alarm_weight * alarm))


def actual_dcf(mated, nonmated, prior=0.01, miss_cost=1.0, alarm_cost=1.0):
    """Normalised detection cost at the Bayes threshold.

    Arguments
    ---------
    mated, nonmated : array_like
        Scores read as natural-log likelihood ratios.
    prior, miss_cost, alarm_cost : float
        As in ``min_dcf``.

    Returns
    -------
    float
    """
    miss_weight, alarm_weight = _cost_weights(prior, miss_cost, alarm_cost)
    threshold = np.log(alarm_weight / miss_weight)
    miss = np.mean(np.asarray(mated) <= threshold)
    alarm = np.mean(np.asarray(nonmated) > threshold)
    return float(miss_weight * miss + alarm_weight * alarm)


def _cost_weights(prior, miss_cost, alarm_cost):
    if not (0 < prior < 1 and miss_cost > 0 and alarm_cost > 0):
        raise ValueError(
            "a detection cost needs a prior between 0 and 1 and positive costs"
        )
    weights = prior * miss_cost, (1 - prior) * alarm_cost
    return weights[0] / min(weights), weights[1] / min(weights)


def equal_error_rate(mated, nonmated):
    """``eer`` of two plain lists of scores.

    Arguments
    ---------
    mated, nonmated : array_like
        Scores; higher = more alike.

    Returns
    -------
    float

    Example
    -------
    >>> equal_error_rate([0.6, 0.7, 0.8, 0.5], [0.4, 0.3, 0.1, 0.65])
    0.25
    """
    return eer(PooledScores(mated, nonmated).blocks())


#: What depends on the order of the scores alone: ``f(blocks) -> float``.
RANK_METRICS = {
    "eer": eer,
    "interpolated_eer": interpolated_eer,
    "rocch_eer": rocch_eer,
    "min_cllr": min_cllr,
    "mutual_information": lambda blocks: 1.0 - min_cllr(blocks),
    "expected_disclosure": lambda blocks: expected_disclosure(blocks),
    "auc": auc,
    "min_dcf": min_dcf,
}


@dataclass(frozen=True)
class VerificationReport:
    """All metrics of one list of trials.

    Rates are in [0, 1]. ``eer`` is SpeechBrain's definition,
    ``interpolated_eer`` the crossing of the ROC curve, ``rocch_eer`` that of
    its convex hull. ``cllr``, ``min_cllr`` and ``expected_disclosure``
    (D_ECE) are bits, ``worst_case_disclosure`` is a log10 likelihood ratio.
    ``mutual_information`` (1 - ``min_cllr``) bounds from below what the scores
    tell about the question, in bits at equal priors. ``linkability`` is
    D_sys, ``None`` where it is not defined. ``min_dcf`` and ``actual_dcf`` are
    at a prior of 0.01.
    """

    eer: float
    interpolated_eer: float
    rocch_eer: float
    cllr: float
    min_cllr: float
    mutual_information: float
    linkability: float | None
    expected_disclosure: float
    worst_case_disclosure: float
    auc: float
    min_dcf: float
    actual_dcf: float
    n_mated: int
    n_nonmated: int
    warnings: tuple = ()

    def to_json(self):
        """The report as JSON text."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text):
        """The report that ``to_json`` wrote."""
        content = json.loads(text)
        content["warnings"] = tuple(content["warnings"])
        return cls(**content)


def evaluate_scores(mated, nonmated, integration="sum"):
    """Computes every metric of a list of trials.

    Arguments
    ---------
    mated : array_like
        Scores of trials of one speaker (higher = more alike).
    nonmated : array_like
        Scores of trials of two speakers.
    integration : str
        Of D_sys: ``"sum"`` (exact) or ``"trapezoid"`` (as the reference
        code of the VoicePrivacy challenge).

    Returns
    -------
    VerificationReport

    Raises
    ------
    ValueError
        If a list is empty or a score is NaN or infinite.

    Example
    -------
    >>> report = evaluate_scores([1.0, 2.0, 3.0], [0.0, 1.5, -1.0])
    >>> round(report.rocch_eer, 3), round(report.min_cllr, 3)
    (0.167, 0.333)
    >>> report.warnings[0]
    '3 mated and 3 non-mated trials: fewer than 30 of a kind say little'
    >>> VerificationReport.from_json(report.to_json()) == report
    True
    """
    pooled = PooledScores(mated, nonmated)
    blocks = pooled.blocks()
    warnings = []
    if min(pooled.n_mated, pooled.n_nonmated) < FEW_TRIALS:
        warnings.append(
            f"{pooled.n_mated} mated and {pooled.n_nonmated} non-mated trials: "
            f"fewer than {FEW_TRIALS} of a kind say little"
        )
    area = auc(blocks)
    if area < TURNED:
        warnings.append(
            f"AUC is {100 * area:.0f} %, less than guessing: are these "
            "distances? Higher scores must mean more alike"
        )
    try:
        linked = linkability(pooled, integration=integration)
    except ArithmeticError as fault:
        linked = None
        warnings.append(str(fault))
    calibrated = min_cllr(blocks)
    return VerificationReport(
        eer=eer(blocks),
        interpolated_eer=interpolated_eer(blocks),
        rocch_eer=rocch_eer(blocks),
        cllr=cllr(pooled.mated, pooled.nonmated),
        min_cllr=calibrated,
        mutual_information=1.0 - calibrated,
        linkability=linked,
        expected_disclosure=expected_disclosure(blocks),
        worst_case_disclosure=worst_case_disclosure(blocks),
        auc=area,
        min_dcf=min_dcf(blocks),
        actual_dcf=actual_dcf(pooled.mated, pooled.nonmated),
        n_mated=pooled.n_mated,
        n_nonmated=pooled.n_nonmated,
        warnings=tuple(warnings),
    )
