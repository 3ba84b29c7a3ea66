"""A run's results, small enough to keep in git."""


def pack_run(run):
    """What tables and pictures need of a run.

    Numbers keep six digits; scores by speaker stay those of the strongest
    attackers.

    Arguments
    ---------
    run : dict
        Of ``summary.load_run``.

    Returns
    -------
    dict
        To be written as JSON, and read by it again.
    """
    run = _rounded(run)
    taps = [tap["speaker"] for tap in run["audit"]["taps"].values()]
    for part in [*taps, *run["audit"].get("controls", {}).values()]:
        for name, attacker in part["attackers"].items():
            for found in attacker.values():
                if isinstance(found, dict) and name != part["chosen"]:
                    found.pop("by_speaker", None)
    return run


def _rounded(x):
    if isinstance(x, float):
        return float(f"{x:.6g}")
    if isinstance(x, dict):
        return {key: _rounded(value) for key, value in x.items()}
    return [_rounded(value) for value in x] if isinstance(x, list) else x
