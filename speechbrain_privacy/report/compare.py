"""Are two runs different, or is it their speakers?"""

import numpy as np

from speechbrain_privacy.metrics.comparison import (
    jackknife_difference,
    paired_ratio_difference,
)
from speechbrain_privacy.report.comparable import check_audits
from speechbrain_privacy.report.score_lists import p_value

METRICS = {
    "eer": ("speaker EER, points", 100),
    "min_cllr": ("Cllr_min, bit", 1),
}


def compare_runs(a, b):
    """Paired differences of two runs on the same speakers.

    Arguments
    ---------
    a, b : dict
        From ``summary.load_run``.

    Returns
    -------
    dict
        What was compared -> ``Difference``, b less a, in the unit named.

    Raises
    ------
    ValueError
        If the runs were not tested and attacked alike.
    """
    check_audits([a, b])
    found = {}
    if a.get("by_speaker") and b.get("by_speaker"):
        speakers = sorted(a["by_speaker"])
        if speakers != sorted(b["by_speaker"]):
            raise ValueError(
                "the runs were tested on different speakers: a comparison is "
                "paired"
            )
        errors, words = zip(
            *(zip(*(run["by_speaker"][s] for s in speakers)) for run in (a, b))
        )
        percent = [100 * np.array(some) for some in errors]
        found["WER, points"] = paired_ratio_difference(
            *percent, words[0], speakers
        )
    for tap in a["audit"]["taps"]:
        if tap not in b["audit"]["taps"]:
            continue
        phones = [run.get("phones", {}).get(tap, {}) for run in (a, b)]
        if a.get("probe") == b.get("probe"):
            pair = _phone_errors(*(x.get("by_speaker") for x in phones))
            if pair is not None:
                found[f"{tap}: phone error, points"] = pair
        reports = [_chosen(run["audit"]["taps"][tap]) for run in (a, b)]
        for name, (title, scale) in METRICS.items():
            found[f"{tap}: {title}"] = _difference(*reports, name, scale)
    return found


def _phone_errors(a, b):
    """Of frames; None unless both know those of the same speakers. (Another
    front-end may have a frame more or less of an utterance.)"""
    if not a or not b or a.keys() != b.keys():
        return None
    speakers = sorted(a)
    rates = []
    for one in (a, b):
        wrong, asked = np.array([one[s] for s in speakers], float).T
        sums = [np.append(x.sum() - x, x.sum()) for x in (wrong, asked)]
        rates.append(100 * sums[0] / sums[1])  # without each, and of all
    difference = rates[1] - rates[0]
    return jackknife_difference(difference[-1], difference[:-1])


def _chosen(tap):
    attack = tap["speaker"]
    return attack["attackers"][attack["chosen"]]["all"]


def _difference(a, b, name, scale):
    speakers = sorted(a["left_out"][name])
    replicates = [
        np.array([report["left_out"][name][s] for s in speakers], float)
        for report in (a, b)
    ]
    values = [report["intervals"][name]["value"] for report in (a, b)]
    return jackknife_difference(
        scale * (values[1] - values[0]), scale * (replicates[1] - replicates[0])
    )


def format_differences(found, names):
    """Differences as text, each with a verdict.

    Arguments
    ---------
    found : dict
        From ``compare_runs``.
    names : tuple of str
        Of the two runs.

    Returns
    -------
    str
    """
    lines = [
        f"{names[1]} less {names[0]}: same speakers, delete-one-speaker "
        "jackknife, 95 %"
    ]
    width = max(map(len, found))
    for title, difference in found.items():
        verdict = "differs" if difference.p_value < 0.05 else "no evidence"
        lines.append(
            f"{title:{width}}  {difference.value:+7.2f} "
            f"[{difference.low:+.2f}, {difference.high:+.2f}]  "
            f"{p_value(difference)}  {verdict}"
        )
    lines.append(
        "one training seed each: what another seed would give is not in the "
        f"interval; {len(found)} comparisons, not corrected"
    )
    return "\n".join(lines)
