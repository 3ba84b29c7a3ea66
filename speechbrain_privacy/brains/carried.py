"""What was spent before a training: on its teacher, clusters, boundaries.

Each of them is a dict of costs; what it was built on itself is told inside,
under ``before``, and may be part of another as well.
"""

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


def parts_of(totals):
    """What something cost by itself, and each thing that it was built on.

    Arguments
    ---------
    totals : dict
        Costs in all; ``before`` is name -> such a dict.

    Returns
    -------
    frozenset
        Of frozensets of pairs (kind, cost). What is inside twice is there
        once: things are told apart by what they cost.

    Example
    -------
    >>> units = {"flops": 1.0}
    >>> student = {"flops": 5.0, "before": {"units": units}}
    >>> sorted(dict(part)["flops"] for part in parts_of(student))
    [1.0, 4.0]
    """
    inside = frozenset().union(
        *(parts_of(spent) for spent in totals.get("before", {}).values())
    )
    others = added_up(inside)
    own = {k: totals[k] - others.get(k, 0) for k in KINDS if k in totals}
    return inside | {frozenset(own.items())}


def added_up(parts):
    """Sums of each kind over parts as ``parts_of`` tells them."""
    sums = {}
    # In an order of their own: sums of floats depend on it.
    for part in sorted(parts, key=sorted):
        for kind, cost in part:
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
    >>> units = {"flops": 1.0}
    >>> teacher = {"flops": 5.0, "before": {"units": units}}
    >>> list(told_once({"units": units, "teacher": teacher}))
    ['teacher']
    """
    known = {name: parts_of(spent) for name, spent in before.items()}
    told = {}
    for name, parts in sorted(known.items(), key=lambda item: -len(item[1])):
        if not any(parts <= other for other in told.values()):
            told[name] = parts
    return {name: spent for name, spent in before.items() if name in told}
