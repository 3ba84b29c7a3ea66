"""How much an error costs: cost to a target, area under error and log-cost.

A curve is what one training run went through: cumulative costs (operations,
audio seconds, CPU seconds) and the error reached at each. Wall-clock time
compares machines, not methods.
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid
from scipy.stats import t as student_t


@dataclass(frozen=True)
class CostRatio:
    """``value`` times the cost of the other method, with a 95 % interval.

    ``never`` runs of both did not reach the target; where there are any, no
    ratio is given: the mean of those that did would flatter.
    """

    value: float | None
    low: float | None
    high: float | None
    never: int
    n_runs: int
    n_other: int


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
    reached = errors <= target
    if not reached.any():
        return float("inf")
    i = int(reached.argmax())
    if i == 0:
        return float(costs[0])
    part = (errors[i - 1] - target) / (errors[i - 1] - errors[i])
    logs = np.log(costs[i - 1 : i + 1])
    return float(np.exp(logs[0] + part * (logs[1] - logs[0])))


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
    inside = (costs > low) & (costs < high)
    logs = np.log(np.concatenate([[low], costs[inside], [high]]))
    values = np.interp(logs, np.log(costs), errors)
    return float(trapezoid(values, logs) / (logs[-1] - logs[0]))


def cost_ratio(runs, others, target):
    """How much a method costs beside another until an error is reached.

    Arguments
    ---------
    runs, others : list of tuple
        Curves ``(costs, errors)``, one for each seed of the methods, two or
        more each.
    target : float
        Error to be reached.

    Returns
    -------
    CostRatio
        Of the geometric means, with Welch's interval of the logarithms.
        Below 1 the first method is cheaper.

    Example
    -------
    >>> fast = [([1, 10], [50.0, 20.0]), ([1.1, 11], [50.0, 20.0])]
    >>> slow = [([2, 20], [50.0, 20.0]), ([2.2, 22], [50.0, 20.0])]
    >>> round(cost_ratio(fast, slow, 30.0).value, 6)
    0.5
    """
    if min(len(runs), len(others)) < 2:
        raise ValueError("a ratio with an interval needs two runs of each")
    costs = [
        np.array([cost_to_target(*curve, target) for curve in curves])
        for curves in (runs, others)
    ]
    never = int(sum(np.isinf(some).sum() for some in costs))
    sizes = len(runs), len(others)
    if never:
        return CostRatio(None, None, None, never, *sizes)
    logs = [np.log(some) for some in costs]
    apart = logs[0].mean() - logs[1].mean()
    parts = [some.var(ddof=1) / len(some) for some in logs]
    error = np.sqrt(sum(parts))
    width = 0.0
    if error > 0:
        freedom = error**4 / sum(
            part**2 / (len(some) - 1)
            for part, some in zip(parts, logs, strict=True)
        )
        width = float(student_t.ppf(0.975, freedom) * error)
    low, value, high = np.exp([apart - width, apart, apart + width]).tolist()
    return CostRatio(value, low, high, 0, *sizes)
