"""Whether the results of runs may stand side by side."""

import json

from speechbrain.utils.logger import get_logger

logger = get_logger(__name__)


def check_audits(runs):
    """Refuses runs that were not attacked alike.

    Arguments
    ---------
    runs : list of dict
        From ``summary.load_run``.

    Raises
    ------
    ValueError
        If test data, what attackers learnt on, or the attackers themselves
        differ. Older audits that do not say how theirs were trained are a
        warning beside others.
    """
    audits = [run["audit"] for run in runs]
    if _differ(audit["test"]["fingerprint"] for audit in audits):
        raise ValueError(
            "the runs were audited on different test data: their numbers do "
            "not compare"
        )
    if _differ(audit["train"].get("fingerprint") for audit in audits):
        raise ValueError(
            "the runs' attackers learnt on different data: their numbers do "
            "not compare"
        )
    if _differ(audit.get("suite") for audit in audits):
        raise ValueError(
            "the runs were audited by different suites of attackers: their "
            "numbers do not compare"
        )
    known = [run for run in runs if "attackers" in run["audit"]]
    if 0 < len(known) < len(runs):
        logger.warning(
            "older audits do not say how attackers were trained: whether all "
            "of these were trained alike is not known"
        )
    for run in known[1:]:
        settings = [_of_attackers(one["audit"]) for one in (known[0], run)]
        for key in sorted(settings[0].keys() | settings[1].keys()):
            first, its = (found.get(key) for found in settings)
            if first != its:
                raise ValueError(
                    f"the attackers of '{known[0]['name']}' and "
                    f"'{run['name']}' have different settings ({key}: {first} "
                    f"and {its}): a weaker one makes a model look more "
                    "private, their numbers do not compare"
                )


def _of_attackers(audit):
    """Settings of those that tables compare, by dotted path; who reads words,
    or hears the waveform, attacks no model."""
    found = {}

    def walk(node, path):
        if not isinstance(node, dict) or not node:
            found[path] = node
            return
        for key, inside in node.items():
            walk(inside, f"{path}.{key}")

    for kind in ("speaker", "attribute"):
        walk(audit["attackers"].get(kind, {}), kind)
    return found


def _differ(some):
    return len({json.dumps(x, sort_keys=True) for x in some}) > 1


def by_model(runs):
    """Groups runs of one name, which must be repetitions.

    Arguments
    ---------
    runs : list of dict
        From ``summary.load_run``.

    Returns
    -------
    dict
        Name -> runs, in their order.

    Raises
    ------
    ValueError
        If two of a name have one seed, or were trained otherwise or on other
        data. Results of older versions do not say with which settings: they
        pass.
    """
    models = {}
    for run in runs:
        same = models.setdefault(run["name"], [])
        if run["seed"] in [other["seed"] for other in same]:
            raise ValueError(
                f"two runs of '{run['name']}' have seed {run['seed']}: they "
                "are not repetitions; give one of them another --name"
            )
        _check_settings(run, same)
        same.append(run)
    return models


def _check_settings(run, others):
    """What one version knows and another does not is passed over."""
    for other in others:
        before, now = other.get("settings", {}), run.get("settings", {})
        keys = before.keys() & now.keys()
        same = "provenance" in run and _version(other) == _version(run)
        if before and now and same:
            keys = before.keys() | now.keys()
        pairs = {key: (before.get(key), now.get(key)) for key in sorted(keys)}
        for key, name in (("train", "data"), ("epochs", "epochs")):
            if key in other and key in run:
                pairs[name] = other[key], run[key]
        for key, (theirs, its) in pairs.items():
            if theirs != its:
                raise ValueError(
                    f"two runs of '{run['name']}' were trained with {key} "
                    f"{theirs} (seed {other['seed']}) and {its} (seed "
                    f"{run['seed']}): they are not repetitions; give one of "
                    "them another --name"
                )


def _version(run):
    found = run.get("provenance", {})
    return found.get("speechbrain_privacy"), found.get("git")
