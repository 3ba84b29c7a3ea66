"""What pre-trained encoders read, and what their errors cost."""

import statistics

from speechbrain_privacy.metrics.efficiency import (
    Curve,
    compare_costs,
    mean_curve,
)
from speechbrain_privacy.report.tables import format_lines

#: What a curve can be drawn over: its unit, how much of what is stored that
#: is, and in words.
COSTS = {
    "flops": ("TFLOP", 1e12, "training operations, TFLOP"),
    "cpu_seconds": ("CPU minutes", 60.0, "CPU minutes of training"),
    "audio_seconds": ("hours of audio", 3600.0, "hours of audio heard"),
    "joules": ("kJ", 1e3, "energy of training, kJ"),
}
METHOD = (
    "All steps of training; of the mean curve of all seeds. A method may just "
    "miss by chance what another just reaches: the mean over the logarithm of "
    "the cost knows no such edge."
)
INTERVALS = (
    "Brackets: 95 % intervals of a bootstrap over seeds (a method with one "
    "keeps it) and the speakers they share."
)

SPENT = (
    "Before the first step: TFLOP of what else had to be made or trained, part "
    "of the whole (what two of them share is in each, and once in the whole). "
    "Minutes and memory are of training (of all processes, and "
    "of one): libraries are in the memory, loading and probing are not in the "
    "minutes."
)


def costs_header(cost="flops"):
    """Heads of the columns of ``cost_lines``."""
    unit = COSTS[cost][0]
    return (
        "model",
        "phone error %",
        unit,
        f"{unit} to target",
        "beside the first",
        "mean over log-cost %",
        "mean beside the first",
    )


def curves(runs, cost="flops"):
    """Model -> a ``Curve`` of phone errors over costs for each seed.

    Arguments
    ---------
    runs : list of dict
        From ``summary.load_run``; those without a ``curve`` are left out.
    cost : str
        Of ``COSTS``; the curves are in its unit.

    Returns
    -------
    dict
    """
    models = {}
    for run in runs:
        if points := _rising(run.get("curve", ()), cost):
            models.setdefault(run["name"], []).append(points)
    found = {}
    for name, seeds in models.items():
        # Of what one seed was not asked, no mean is known.
        shared = set.intersection(*map(set, seeds))
        if shared:
            found[name] = [
                _curve(
                    [x for epoch, x in points.items() if epoch in shared], cost
                )
                for points in seeds
            ]
    return found


def _rising(points, cost):
    """Epoch -> point that knows this cost, without first estimates of the
    time that later ones have corrected downwards."""
    kept = []
    for point in reversed([p for p in points if p.get(cost)]):
        if not kept or point[cost] < kept[-1][cost]:
            kept.append(point)
    return {point["epoch"]: point for point in reversed(kept)}


def _curve(points, cost):
    costs = [point[cost] / COSTS[cost][1] for point in points]
    errors = [point["error"] for point in points]
    counts = [point.get("by_speaker") for point in points]
    # Runs of older versions did not keep them.
    if not all(counts):
        return Curve(costs, errors)
    speakers = tuple(sorted(counts[0]))
    wrong, asked = (
        [[point[speaker][i] for speaker in speakers] for point in counts]
        for i in range(2)
    )
    return Curve(costs, errors, speakers, wrong, asked)


def cost_lines(runs, cost="flops"):
    """One line of cells for each model that has curves.

    The target is what the first model reaches in the end, on average over its
    seeds.

    Arguments
    ---------
    runs : list of dict
    cost : str
        Of ``COSTS``.

    Returns
    -------
    list of tuple
    """
    found = curves(runs, cost)
    lines = []
    for name, some in found.items():
        first = next(iter(found.values()))
        lines.append(
            (
                name,
                _spread([run.errors[-1] for run in some]),
                _spread([run.costs[-1] for run in some]),
                *_beside(some, first),
            )
        )
    return lines


def _beside(some, first):
    """Cost to the target and area, each with its ratio to the first model."""
    # Of one point nothing is known but where it ends.
    if len(some[0].costs) == 1 or len(first[0].costs) == 1:
        return ("-",) * 4
    found = compare_costs(some, first)
    cost = f"{found.cost:.1f}" if found.cost >= 1 else f"{found.cost:.2g}"
    cost = "never" if found.cost == float("inf") else cost
    if found.cost <= mean_curve(some).costs[0] * (1 + 1e-9):
        cost = f"<= {cost}"  # reached when it was first asked
    if found.area is None:
        return cost, _ratio(found.ratio, some is first), "-", "-"
    return (
        cost,
        _ratio(found.ratio, some is first),
        f"{found.area:.1f}",
        _ratio(found.areas, some is first),
    )


def _ratio(ratio, same):
    if same:
        return "1"
    ends = ratio.value, ratio.low, ratio.high
    value, *ends = (
        "never" if x == float("inf") else f"{x:.2f}" if x is not None else x
        for x in ends
    )
    return value if None in ends else f"{value} [{', '.join(ends)}]"


def describe_costs(runs, style="text", cost="flops"):
    """The costs as a table with a sentence, and those of each run, if known.

    Arguments
    ---------
    runs : list of dict
    style : str
        As in ``tables.format_lines``.
    cost : str
        Of ``COSTS``.

    Returns
    -------
    str
    """
    lines = cost_lines(runs, cost)
    spent = spending_lines(runs)
    tables = [format_lines(spent, style), SPENT] if spent else []
    points = [some for run in curves(runs, cost).values() for some in run]
    if cost == "flops" and all(len(some.costs) < 2 for some in points):
        lines = []  # there is nothing between single points
    elif not lines and cost != "flops":
        asked = ': train with --meter "{energy: process}"'
        raise ValueError(
            f"no run has a curve over {cost}{asked if cost == 'joules' else ''}"
        )
    if lines:
        table = format_lines([costs_header(cost), *lines], style)
        tables = [table, explain_costs(runs, cost), *tables]
    return "\n\n".join(tables)


def spending_lines(runs):
    """What each training has cost in all.

    Arguments
    ---------
    runs : list of dict

    Returns
    -------
    list of tuple
        With a header, or nothing at all. Of results that do not tell their
        costs apart from a curve, the curve's end, which may be without what
        was spent before the first step.
    """
    lines = []
    for run in runs:
        spent = run.get("efficiency") or (run.get("curve") or [{}])[-1]
        if not spent.get("flops"):
            continue
        before = ", ".join(
            f"{name} {costs.get('flops', 0) / 1e12:.3g}"
            for name, costs in spent.get("before", {}).items()
        )
        memory = spent.get("peak_memory_bytes")
        lines.append(
            (
                run["name"],
                str(run["seed"]),
                f"{spent['flops'] / 1e12:.3g}",
                before or ("0" if "before" in spent else "unknown"),
                f"{spent.get('audio_seconds', 0) / 3600:.3g}",
                f"{spent.get('cpu_seconds', 0) / 60:.3g}",
                f"{memory / 2**30:.2f}" if memory else "-",
            )
        )
    header = (
        "training",
        "seed",
        "TFLOP in all",
        "before the first step",
        "audio heard, h",
        "CPU minutes",
        "GiB at most",
    )
    return [header, *lines] if lines else []


def explain_costs(runs, cost="flops"):
    """What the table says, and of which runs it could say less."""
    found = curves(runs, cost)
    name, first = next(iter(found.items()))
    target = statistics.mean(run.errors[-1] for run in first)
    parts = [
        f"Target: {target:.1f} % phone error, what {name} reaches in the end, "
        f"on average over its seeds. {METHOD}"
    ]
    known = {n: all(run.speakers for run in some) for n, some in found.items()}
    if known[name] and sum(known.values()) > 1:
        parts.append(INTERVALS)
    if without := [n for n, by_speaker in known.items() if not by_speaker]:
        parts.append(
            "No intervals for lack of errors by speaker (of all seeds): "
            f"{', '.join(without)}."
        )
    single = [n for n, some in found.items() if len(some[0].costs) == 1]
    if single:
        parts.append(
            "Dashes: no encoders were kept on the way (--milestones), nothing "
            f"is known but the end: {', '.join(single)}."
        )
    curved = {run["name"] for run in runs if run.get("curve")}
    if missing := sorted(curved - set(found)):
        parts.append(
            f"This cost is not known of {', '.join(missing)} (or not at an "
            "epoch that all seeds share)."
        )
    return " ".join([*parts, *_spent_before(runs)])


def _spent_before(runs):
    """Whose costs have in them what was spent before the first step, and whose
    have not, since an older version did not count it."""
    told, untold = {}, {}
    for run in (run for run in runs if run.get("curve")):
        spent = run.get("efficiency")
        if spent is None:
            untold[run["name"]] = None
        elif before := spent.get("before"):
            told.setdefault(run["name"], {}).update(before)
    if not told:
        return
    inside = (f"{name} ({', '.join(what)})" for name, what in told.items())
    yield f"With what was spent before the first step: {'; '.join(inside)}."
    if untold:
        yield (
            "Older results, which do not say whether it is in them: "
            f"{', '.join(untold)}."
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
