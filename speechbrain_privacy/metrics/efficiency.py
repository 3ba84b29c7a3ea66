"""How much an error costs: cost to a target, area under error and log-cost.

A curve is what one training run went through: cumulative costs (operations,
audio seconds, CPU seconds) and the error reached at each. Wall-clock time
compares machines, not methods.
"""

from dataclasses import dataclass

import numpy as np

from speechbrain_privacy.metrics.uncertainty import speaker_draws


@dataclass(frozen=True, eq=False)
class Curve:
    """One training run, checked on creation.

    Arguments
    ---------
    costs, errors : sequence of float
        Costs are positive and rise; errors in percent.
    speakers : sequence of str, optional
        On whom the errors were made.
    wrong, asked : array_like, optional
        ``[points, speakers]``: at each cost, what of each speaker was wrong,
        of how much.

    Example
    -------
    >>> Curve([1, 10], [50.0, 30.0]).costs
    array([ 1., 10.])
    """

    costs: np.ndarray
    errors: np.ndarray
    speakers: tuple = ()
    wrong: np.ndarray | None = None
    asked: np.ndarray | None = None

    def __post_init__(self):
        costs, errors = checked_curve(self.costs, self.errors)
        object.__setattr__(self, "costs", costs)
        object.__setattr__(self, "errors", errors)
        if self.speakers:
            shape = len(costs), len(self.speakers)
            for name in ("wrong", "asked"):
                counts = np.asarray(getattr(self, name), float)
                if counts.shape != shape:
                    raise ValueError(
                        f"{name} is {list(counts.shape)}, not [points, "
                        f"speakers] {list(shape)}"
                    )
                object.__setattr__(self, name, counts)


@dataclass(frozen=True)
class Ratio:
    """``value`` times as much, with an interval where it is known.

    Infinity where the target is never reached.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class CostComparison:
    """A method beside another, each the mean of its runs.

    ``cost`` is what it takes to get to the error ``target``, ``ratio`` that
    beside the other's; ``area`` the mean error over the logarithm of the cost
    where both curves are, ``areas`` that beside the other's (None where they
    nowhere are together).
    """

    target: float
    cost: float
    ratio: Ratio
    area: float | None
    areas: Ratio | None


def checked_curve(costs, errors):
    """A curve as two arrays, or why it is none.

    Arguments
    ---------
    costs, errors : sequence of float
        Costs are positive and rise.

    Returns
    -------
    tuple of numpy.ndarray
    """
    costs, errors = np.asarray(costs, float), np.asarray(errors, float)
    if costs.ndim != 1 or costs.shape != errors.shape or not len(costs):
        raise ValueError("a curve has as many errors as costs, one at least")
    if not (np.isfinite(costs).all() and np.isfinite(errors).all()):
        raise ValueError("a cost or an error is NaN or infinite")
    if costs[0] <= 0 or (np.diff(costs) <= 0).any():
        raise ValueError("costs are positive and rise along a curve")
    return costs, errors


def cost_to_target(costs, errors, target):
    """The least cost at which the error is at most ``target``.

    Arguments
    ---------
    costs, errors : sequence of float
        Of one run. Between two points the error falls linearly in the
        logarithm of the cost.
    target : float

    Returns
    -------
    float
        Infinity if the target was never reached; the first cost, which may
        be too much, if it was reached there already.

    Example
    -------
    >>> round(cost_to_target([1, 10, 100], [50.0, 30.0, 20.0], 25.0), 3)
    31.623
    >>> cost_to_target([1, 10, 100], [50.0, 30.0, 20.0], 10.0)
    inf
    """
    costs, errors = checked_curve(costs, errors)
    return float(np.exp(_log_reached(np.log(costs), errors, target)))


def _log_reached(logs, errors, target):
    """``[..., points]`` and targets ``[...]`` -> logarithms of costs."""
    target = np.asarray(target)[..., None]
    reached = errors <= target
    at = reached.argmax(-1)[..., None]
    before = np.maximum(at - 1, 0)

    def take(x, i):
        return np.take_along_axis(x, i, -1)

    fallen = take(errors, before) - take(errors, at)
    part = (take(errors, before) - target) / np.where(at > 0, fallen, 1.0)
    there = take(logs, before) + part * (take(logs, at) - take(logs, before))
    there = np.where(at > 0, there, logs[..., :1])
    return np.where(reached.any(-1), there[..., 0], np.inf)


def area(costs, errors, low, high):
    """Mean error over the logarithm of the cost, from ``low`` to ``high``.

    Arguments
    ---------
    costs, errors : sequence of float
        Of one run.
    low, high : float
        Costs; the curve must reach over both.

    Returns
    -------
    float

    Example
    -------
    >>> round(area([1, 100], [40.0, 20.0], 1, 100), 3)
    30.0
    """
    costs, errors = checked_curve(costs, errors)
    if not costs[0] <= low < high <= costs[-1]:
        raise ValueError(
            f"the curve reaches from {costs[0]:g} to {costs[-1]:g}, not from "
            f"{low:g} to {high:g}"
        )
    return float(_log_area(np.log(costs), errors, np.log(low), np.log(high)))


def _log_area(logs, errors, low, high):
    """``[..., points]`` and ends ``[...]`` -> mean errors between them."""
    low, high = np.asarray(low)[..., None], np.asarray(high)[..., None]
    x0, x1 = logs[..., :-1], logs[..., 1:]
    y0, y1 = errors[..., :-1], errors[..., 1:]
    begin, end = np.clip(low, x0, x1), np.clip(high, x0, x1)
    # Of a straight line the mean is where its middle is.
    middles = y0 + ((begin + end) / 2 - x0) / (x1 - x0) * (y1 - y0)
    return ((end - begin) * middles).sum(-1) / (high - low)[..., 0]


def mean_curve(runs):
    """What the runs of one method went through on average.

    Arguments
    ---------
    runs : list of Curve
        One for each seed, each with as many points.

    Returns
    -------
    Curve
        Geometric means of the costs, means of the errors.
    """
    if len({len(run.costs) for run in runs}) != 1:
        raise ValueError("the runs of a method have curves of other lengths")
    logs, errors = np.log([r.costs for r in runs]), [r.errors for r in runs]
    return Curve(np.exp(logs.mean(0)), np.mean(errors, 0))


def compare_costs(runs, others, target=None, n_draws=1000, seed=0, level=0.95):
    """What an error costs with one method, beside another.

    Intervals are those of a bootstrap over training seeds and speakers: the
    same speakers are drawn for all runs of both methods, since these share
    what is hard about them, and of each method's seeds one fewer than there
    are (as many would make their variance too small: by a third, for three).
    With one run of a method nothing is known of other seeds, and the interval
    is over speakers alone; with two seeds it is much too narrow, with three a
    little.

    Arguments
    ---------
    runs, others : list of Curve
        Of the two methods, one for each seed.
    target : float, optional
        Error to be reached; default: what the others reach in the end, in
        each draw anew.
    n_draws, seed
        Of the bootstrap.
    level : float

    Returns
    -------
    CostComparison
        Ratios below 1 speak for the first method. Without intervals where
        errors are not known by speaker.

    Example
    -------
    >>> fast = [Curve([1, 10], [50.0, 20.0])]
    >>> slow = [Curve([2, 20], [50.0, 20.0])]
    >>> found = compare_costs(fast, slow)
    >>> found.target, round(found.cost, 6), round(found.ratio.value, 6)
    (20.0, 10.0, 0.5)
    """
    means = [mean_curve(some) for some in (runs, others)]
    whole = [(np.log(mean.costs), mean.errors) for mean in means]
    cost, ratio, mean, areas = _compared(*whole, target)
    ends = [(None, None)] * 2
    if draws := _drawn(runs, others, n_draws, seed):
        _, ratios, _, others_areas = _compared(*draws, target)
        ends = [_ends(some, level) for some in (ratios, others_areas)]
    together = not np.isnan(mean)
    return CostComparison(
        float(means[1].errors[-1] if target is None else target),
        float(cost),
        Ratio(float("inf") if np.isnan(ratio) else float(ratio), *ends[0]),
        float(mean) if together else None,
        Ratio(float(areas), *ends[1]) if together else None,
    )


def _compared(own, other, target):
    """Cost to the target and area, each also beside the other's."""
    if target is None:
        target = other[1][..., -1]
    logs = [_log_reached(*curve, target) for curve in (own, other)]
    # Where neither arrives there is nothing to compare.
    with np.errstate(invalid="ignore"):
        apart = np.exp(logs[0] - logs[1])
    low = np.maximum(own[0][..., 0], other[0][..., 0])
    high = np.minimum(own[0][..., -1], other[0][..., -1])
    high = np.where(low < high, high, np.nan)
    areas = [_log_area(*curve, low, high) for curve in (own, other)]
    return np.exp(logs[0]), apart, areas[0], areas[0] / areas[1]


def _drawn(runs, others, n_draws, seed):
    """Both methods' mean curves in each draw, ``[draws, points]``."""
    speakers = {run.speakers for run in (*runs, *others)}
    if len(speakers) != 1 or len(next(iter(speakers))) < 2:
        return None
    weights = speaker_draws(len(speakers.pop()), n_draws, seed)
    rng = np.random.default_rng([seed, 1])
    curves = []
    for some in (runs, others):
        few = max(1, len(some) - 1)
        chosen = rng.integers(len(some), size=(n_draws, few))
        logs = np.log([run.costs for run in some])[chosen].mean(1)
        errors = np.stack(
            [
                100 * (weights @ run.wrong.T) / (weights @ run.asked.T)
                for run in some
            ],
            1,
        )
        errors = np.take_along_axis(errors, chosen[:, :, None], 1).mean(1)
        curves.append((logs, errors))
    return curves


def _ends(values, level):
    """Percentiles; draws that have no value are no evidence for either."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None, None
    tail = (1 - level) / 2
    # Without interpolation: some may be infinite.
    return (
        float(np.quantile(values, tail, method="lower")),
        float(np.quantile(values, 1 - tail, method="higher")),
    )
