"""Boundary detectors as a table."""

from speechbrain_privacy.report.tables import format_lines

HEAD = ("detector", "rate", "precision %", "recall %", "F1 %", "R-value %")


def format_detectors(found, style="text"):
    """A line for each detector and baseline.

    Arguments
    ---------
    found : list of dict
        As ``masking.evaluation.evaluate_detectors`` returns it.
    style : str
        As in ``report.tables``.

    Returns
    -------
    str
    """
    lines = [HEAD]
    for row in found:
        report = row["report"]
        numbers = report.precision, report.recall, report.f1, report.r_value
        rates = " / ".join(f"{rate:g}" for rate in row["rates"])
        percents = [f"{100 * number:.1f}" for number in numbers]
        lines.append((row["name"], rates, *percents))
    return format_lines(lines, style)
