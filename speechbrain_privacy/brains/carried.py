"""What was spent before a training: on its teacher, clusters, boundaries.

Each of them is a dict of costs. ``before`` tells, by name, what it was built
on itself; ``id`` which it is, since it may be part of another as well.
"""

import json
import math
from pathlib import Path

#: What adds up; energy where it is counted.
ENERGY = ("joules", "cpu_joules", "gpu_joules", "ram_joules")
KINDS = (
    "flops",
    "audio_seconds",
    "cpu_seconds",
    "wall_seconds",
    *ENERGY,
    "steps",
)


def costs_of(totals):
    """What of them adds up.

    Arguments
    ---------
    totals : dict

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If one is no number, or none that can have been spent.

    Example
    -------
    >>> costs_of({"flops": 7.0, "device": "cpu"})
    {'flops': 7.0}
    """
    found = {kind: totals[kind] for kind in KINDS if kind in totals}
    for kind, cost in found.items():
        if not isinstance(cost, int | float) or not 0 <= cost < math.inf:
            raise ValueError(f"{kind} is {cost}: that cannot have been spent")
    return found


def run_of(source):
    """The folder of a run.

    Arguments
    ---------
    source : str or Path
        It, or what lies in one of its checkpoints.

    Returns
    -------
    Path

    Example
    -------
    >>> run_of("results/a/save/CKPT+1/encoder.ckpt").as_posix()
    'results/a'
    """
    source = Path(source)
    if source.parent.name.startswith("CKPT"):
        return source.parents[2]
    return source


def read_totals(path):
    """What a run tells of its costs.

    Arguments
    ---------
    path : str or Path
        Of an ``efficiency.json``.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the file cannot be read or tells no costs.
    """
    try:
        totals = dict(json.loads(Path(path).read_text(encoding="utf-8")))
        parts_of(totals)
    except (ValueError, TypeError, AttributeError) as fault:
        raise ValueError(f"{path} does not tell costs: {fault}") from None
    return {"id": _unnamed(totals), **totals}


def _unnamed(totals):
    """In place of an ID, which older versions did not give."""
    return json.dumps(costs_of(totals), sort_keys=True)


def parts_of(totals):
    """What something cost by itself, and each thing that it was built on.

    Arguments
    ---------
    totals : dict
        Costs in all, ``id`` and ``before``.

    Returns
    -------
    dict
        ID -> costs. What is inside twice is there once; of a run that went on
        in between, what it has cost in the end.

    Example
    -------
    >>> units = {"flops": 1.0, "id": "u"}
    >>> parts_of({"flops": 5.0, "id": "s", "before": {"units": units}})
    {'u': {'flops': 1.0}, 's': {'flops': 4.0}}
    """
    parts = {}

    def take(key, costs):
        known = parts.get(key, {})
        parts[key] = {
            kind: max(known.get(kind, 0), costs.get(kind, 0))
            for kind in KINDS
            if kind in known or kind in costs
        }

    for spent in totals.get("before", {}).values():
        for key, costs in parts_of(spent).items():
            take(key, costs)
    inside, costs = added_up(parts), costs_of(totals)
    own = {kind: x - inside.get(kind, 0) for kind, x in costs.items()}
    take(totals.get("id") or _unnamed(totals), own)
    return parts


def added_up(parts):
    """Sums of each kind over parts as ``parts_of`` tells them."""
    sums = {}
    for costs in parts.values():
        for kind, cost in costs.items():
            sums[kind] = sums.get(kind, 0) + cost
    return sums


def told_once(before):
    """Leaves out what is, with all its parts, inside another.

    Arguments
    ---------
    before : dict
        Name -> costs.

    Returns
    -------
    dict
        The first of equals.

    Example
    -------
    >>> units = {"flops": 1.0, "id": "u"}
    >>> teacher = {"flops": 5.0, "id": "t", "before": {"units": units}}
    >>> list(told_once({"units": units, "teacher": teacher}))
    ['teacher']
    """
    known = {name: parts_of(spent) for name, spent in before.items()}
    told = []
    for parts in sorted(known.values(), key=len, reverse=True):
        if not any(parts.items() <= other.items() for other in told):
            told.append(parts)
    return {
        name: before[name]
        for name, parts in known.items()
        if any(parts is one for one in told)
    }
