"""What the command ``score`` prints: one list of trials, or two compared."""

from dataclasses import asdict

import numpy as np

from speechbrain_privacy.metrics.comparison import (
    paired_difference,
    permutation_null,
)
from speechbrain_privacy.metrics.evaluation import evaluate_trials
from speechbrain_privacy.metrics.legal import SET_SIZE, criteria_of_trials
from speechbrain_privacy.metrics.streaming import ScoreHistogram
from speechbrain_privacy.metrics.trials import SpeakerScores
from speechbrain_privacy.metrics.verification import (
    RANK_METRICS,
    evaluate_scores,
)
from speechbrain_privacy.report.tables import format_lines

#: Metric -> what it is, its unit, and its value for guessing.
LINES = {
    "eer": ("EER", "%", 50.0),
    "rocch_eer": ("ROCCH-EER", "%", 50.0),
    "cllr": ("Cllr (scores as LLR)", "bit", None),
    "min_cllr": ("Cllr_min", "bit", 1.0),
    "mutual_information": ("mutual information, at least", "bit", 0.0),
    "expected_disclosure": ("D_ECE", "bit", 0.0),
    "worst_case_disclosure": ("worst-case log10 LR", "", 0.0),
    "linkability": ("D_sys", "", None),
    "auc": ("AUC", "%", 50.0),
    "min_dcf": ("minDCF (prior 0.01)", "", 1.0),
}
NULLS = {
    name: lambda pooled, f=RANK_METRICS[name]: f(pooled.blocks())
    for name in ("eer", "rocch_eer", "min_cllr", "expected_disclosure", "auc")
}
COMPARED = ("eer", "min_cllr", "expected_disclosure")


def evaluate_list(scored, n_permutations=0):
    """Evaluates a list, with its speakers where they are known.

    Arguments
    ---------
    scored : ScoreList
        From ``dataio.score_lists.read_scores``.
    n_permutations : int
        For the null levels.

    Returns
    -------
    dict
        JSON-ready: ``overall``; with speakers also ``intervals``,
        ``by_speaker``, ``exposed``, ``null``, and ``legal`` where the names
        of both sides are known; and ``skipped``.
    """
    if scored.left is None:
        both = scored.scores[scored.mated], scored.scores[~scored.mated]
        report = {"overall": asdict(evaluate_scores(*both))}
        if n_permutations:
            null = permutation_null(*both, NULLS, n_permutations)
            report["null"] = {n: asdict(level) for n, level in null.items()}
    else:
        report = asdict(
            evaluate_trials(
                scored.scores,
                scored.left,
                scored.right,
                n_permutations=n_permutations,
            )
        )
        if scored.ids is not None:
            report["legal"] = _legal(scored)
    return {"file": scored.path.name, "skipped": scored.skipped, **report}


def _legal(scored):
    """Linking and singling out; why not, where the list does not tell."""
    try:
        found = criteria_of_trials(
            scored.scores, *scored.ids, scored.left, scored.right
        )
    except ValueError as fault:
        return {"not_searched": str(fault)}
    return {name: asdict(interval) for name, interval in found.items()}


def evaluate_stream(pieces, low, high):
    """Evaluates a list that comes in pieces.

    Arguments
    ---------
    pieces : iterable of ScoreList
    low, high : float
        Where scores are expected.

    Returns
    -------
    StreamingReport
    """
    histogram = ScoreHistogram(low, high)
    for piece in pieces:
        histogram.add(piece.scores[piece.mated], piece.scores[~piece.mated])
    return histogram.report()


def format_report(report):
    """A report of ``evaluate_list`` as text.

    Arguments
    ---------
    report : dict

    Returns
    -------
    str
    """
    overall = report["overall"]
    lines = [
        f"{report['file']}: {overall['n_mated']} mated and "
        f"{overall['n_nonmated']} non-mated trials"
        + "".join(
            f", {n} {why} left out" for why, n in report["skipped"].items()
        )
    ]
    rows = [("metric", "value", "95 % over speakers", "no information")]
    for name, (title, unit, guess) in LINES.items():
        scale = 100 if unit == "%" else 1
        digits = 1 if unit == "%" else 3
        interval = report.get("intervals", {}).get(name)
        null = report.get("null", {}).get(name)
        rows.append(
            (
                f"{title} {unit}".strip(),
                _number(overall[name], scale, digits),
                _range(interval, scale, digits),
                _range(null, scale, digits)
                if null
                else _number(guess, 1, digits),
            )
        )
    lines.append(format_lines(rows))
    if report.get("by_speaker"):
        worst = list(report["by_speaker"].items())[:5]
        lines.append(
            "most exposed speakers (EER %): "
            + ", ".join(f"{name} {100 * rate:.1f}" for name, rate in worst)
            + f"; 5 % of the {len(report['by_speaker'])} speakers are at or "
            f"below {100 * report['exposed']:.1f}"
        )
        lines += _legal_lines(report.get("legal", {}))
    else:
        lines.append(
            "no speakers are known: no intervals (name them with the columns "
            "enrolment_speaker and trial_speaker, or --speakers)"
        )
    notes = [
        *overall["warnings"],
        *(
            f"{LINES[name][0]}: {interval['warning']}"
            if interval["warning"].startswith("no speaker")
            else interval["warning"]
            for name, interval in report.get("intervals", {}).items()
        ),
    ]
    lines += [f"note: {note}" for note in dict.fromkeys(filter(None, notes))]
    return "\n".join(lines)


def _legal_lines(legal):
    if "not_searched" in legal:
        return [f"note: not linked: {legal['not_searched']}"]
    what = {
        "linking": "linked among",
        "singling_out": "singled out among",
    }
    return [
        f"{what[name]} {min(SET_SIZE, interval['n_speakers'] - 1)} speakers: "
        f"{100 * interval['value']:.1f} % {_range(interval, 100, 1)}"
        for name, interval in legal.items()
    ]


def format_stream(report):
    """A ``StreamingReport`` as text."""
    lines = [f"{report.n_mated} mated and {report.n_nonmated} non-mated trials"]
    for name, value in report.values.items():
        low, high = report.bounds.get(name, (value, value))
        lines.append(f"{name:22} {value:.6f}  in [{low:.6f}, {high:.6f}]")
    if report.n_outside:
        lines.append(
            f"note: {report.n_outside} scores lie outside the range given: no "
            "D_sys, and wider bounds; give a wider range"
        )
    lines.append("note: duplicates are not looked for in a stream")
    return "\n".join(lines)


def _number(value, scale, digits):
    return "-" if value is None else f"{scale * value:.{digits}f}"


def _range(interval, scale, digits):
    if not interval:
        return "-"
    low, high = (scale * interval[end] for end in ("low", "high"))
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def compare_lists(a, b):
    """Is list b another result than list a? On the same trials.

    Arguments
    ---------
    a, b : ScoreList
        Matched by enrolment and trial where both name them, else row by row.

    Returns
    -------
    dict
        Metric -> ``Difference``, b - a.

    Raises
    ------
    ValueError
        If the trials are not the same, or the speakers are not known.
    """
    for scored in (a, b):
        if scored.left is None:
            raise ValueError(
                f"{scored.path}: a comparison needs the speakers of the trials"
            )
    order = [np.arange(len(a.scores)), np.arange(len(b.scores))]
    if a.ids is not None and b.ids is not None:
        order = [
            np.lexsort([side.astype(str) for side in s.ids]) for s in (a, b)
        ]
    sides = [
        [getattr(s, side)[rows] for side in ("left", "right")]
        + (
            [part.astype(str)[rows] for part in s.ids]
            if a.ids and b.ids
            else []
        )
        for s, rows in zip((a, b), order)
    ]
    if len(a.scores) != len(b.scores) or any(
        (x.astype(str) != y.astype(str)).any() for x, y in zip(*sides)
    ):
        raise ValueError(
            f"{a.path} and {b.path} do not hold the same trials: only then is "
            "a comparison paired"
        )
    data = [
        SpeakerScores.of_pairs(s.scores[rows], s.left[rows], s.right[rows])
        for s, rows in zip((a, b), order)
    ]
    return {name: paired_difference(*data, name) for name in COMPARED}


def p_value(difference):
    """As text; never a plain zero."""
    p = difference.p_value
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def format_comparison(found, a, b):
    """Differences as text, with a plain verdict."""
    lines = [f"{b} less {a}, same trials, jackknife over speakers:"]
    for name, difference in found.items():
        title, unit, _ = LINES[name]
        scale = 100 if unit == "%" else 1
        unit = "points" if unit == "%" else unit
        real = "differs" if difference.p_value < 0.05 else "no evidence"
        lines.append(
            f"{title}: {scale * difference.value:+.3f} {unit} "
            f"[{scale * difference.low:+.3f}, {scale * difference.high:+.3f}], "
            f"{p_value(difference)}: {real}"
        )
    return "\n".join(lines)
