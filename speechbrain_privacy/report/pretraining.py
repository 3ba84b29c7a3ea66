"""What pre-trained encoders read, and what their errors cost."""

import statistics

from speechbrain_privacy.metrics.efficiency import (
    area,
    checked_curve,
    cost_ratio,
    cost_to_target,
)
from speechbrain_privacy.report.tables import format_lines

COSTS_HEADER = (
    "model",
    "phone error %",
    "TFLOP",
    "TFLOP to target",
    "beside the first",
    "mean over log-cost %",
)
TERA = 1e12


def curves(runs):
    """Model -> a curve ``(operations, phone errors)`` for each seed.

    Arguments
    ---------
    runs : list of dict
        From ``summary.load_run``; those without a ``curve`` are left out.

    Returns
    -------
    dict
    """
    found = {}
    for run in runs:
        points = [p for p in run.get("curve", ()) if p.get("flops")]
        if points:
            curve = checked_curve(
                [p["flops"] for p in points], [p["error"] for p in points]
            )
            found.setdefault(run["name"], []).append(curve)
    return found


def cost_lines(runs):
    """One line of cells for each model that has curves.

    The target is what the first model reaches in the end with each of its
    seeds: the worst of them.

    Arguments
    ---------
    runs : list of dict

    Returns
    -------
    list of tuple
    """
    found = curves(runs)
    if not found:
        return []
    first = next(iter(found.values()))
    target = _target(found)
    # Where all curves are.
    every = [curve for some in found.values() for curve in some]
    low = max(costs[0] for costs, _ in every)
    high = min(costs[-1] for costs, _ in every)
    lines = []
    for name, some in found.items():
        reached = [cost_to_target(*curve, target) for curve in some]
        cheapest = [c / TERA for c in reached if c != float("inf")]
        told = _spread(cheapest) if cheapest else "never"
        if cheapest and len(cheapest) < len(some):
            told += f" ({len(cheapest)} of {len(some)})"
        areas = "-"
        if low < high:
            areas = _spread([area(*curve, low, high) for curve in some])
        lines.append(
            (
                name,
                _spread([errors[-1] for _, errors in some]),
                _spread([costs[-1] / TERA for costs, _ in some]),
                told,
                _beside(some, first, target),
                areas,
            )
        )
    return lines


def _target(found):
    """What the first model of ``curves`` ends at, with its worst seed."""
    return max(errors[-1] for _, errors in next(iter(found.values())))


def _beside(some, first, target):
    if some is first:
        return "1"
    if min(len(some), len(first)) < 2:
        return "-"
    ratio = cost_ratio(some, first, target)
    if ratio.value is None:
        return "-"
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def describe_costs(runs, style="text"):
    """The costs as a table with a sentence, or nothing.

    Arguments
    ---------
    runs : list of dict
    style : str
        As in ``tables.format_lines``.

    Returns
    -------
    str
    """
    lines = cost_lines(runs)
    if not lines:
        return ""
    target = _target(curves(runs))
    table = format_lines([COSTS_HEADER, *lines], style)
    return (
        f"{table}\n\nTarget: {target:.1f} % phone error, which {lines[0][0]} "
        "reaches in the end with each of its seeds. Training operations only, "
        "of all steps. Beside the first: ratio of geometric means, Welch's "
        "95 % interval over seeds."
    )


def letter_lines(runs):
    """One line of cells for each model and tap that has been read.

    Arguments
    ---------
    runs : list of dict

    Returns
    -------
    list of tuple
        With a header, or nothing at all.
    """
    cells, heads = {}, []
    for run in runs:
        for tap, by_head in run.get("characters", {}).items():
            # Features are the same for every model and seed.
            model = "features" if tap == "logmel" else run["name"]
            if model == "features" and (model, tap) in cells:
                continue
            heads += [head for head in by_head if head not in heads]
            for head, found in by_head.items():
                row = cells.setdefault((model, tap), {})
                row.setdefault(head, []).append(found["CER"])
    if not cells:
        return []
    lines = [("model", "representation", *(f"CER % {head}" for head in heads))]
    for (model, tap), row in sorted(
        cells.items(), key=lambda kv: kv[0][0] != "features"
    ):
        some = [row.get(head) for head in heads]
        lines.append((model, tap, *map(_rates, some)))
    return lines


def describe_letters(runs, style="text"):
    """The readers' errors as a table with a sentence, or nothing.

    Arguments
    ---------
    runs : list of dict
    style : str
        As in ``tables.format_lines``.

    Returns
    -------
    str
    """
    lines = letter_lines(runs)
    if not lines:
        return ""
    return (
        f"{format_lines(lines, style)}\n\nCharacter errors of small CTC "
        "readers, trained on frozen frames, on speakers that neither reader "
        "nor encoder was trained on."
    )


def _spread(values):
    """Mean and standard deviation over seeds."""
    mean = statistics.mean(values)
    text = f"{mean:.3g}" if mean < 10 else f"{mean:.1f}"
    if len(values) < 2:
        return text
    spread = statistics.stdev(values)
    return f"{text} +- {spread:.2g}"


def _rates(intervals):
    if not intervals:
        return "-"
    if len(intervals) > 1:
        return _spread([interval["value"] for interval in intervals])
    only = intervals[0]
    return f"{only['value']:.1f} [{only['low']:.1f}, {only['high']:.1f}]"
