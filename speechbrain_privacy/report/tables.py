"""Lines of cells as a table: text, markdown, LaTeX or CSV."""

import csv
import io


def format_lines(lines, style="text"):
    """Lines of cells, the first of them the header -> a table.

    Arguments
    ---------
    lines : list of sequence of str
    style : str
        ``text`` (aligned columns), ``markdown``, ``latex`` or ``csv``.

    Returns
    -------
    str

    Example
    -------
    >>> print(format_lines([("model", "EER %"), ("plain", "38.5")]))
    model  EER %
    -----  -----
    plain  38.5
    """
    if style == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        return text.getvalue().rstrip("\n")
    if style == "latex":
        return _latex(lines)
    if style not in ("text", "markdown"):
        raise ValueError(f"there is no table style '{style}'")
    widths = [max(map(len, column)) for column in zip(*lines)]
    head, *body = lines

    def show(line):
        cells = [cell.ljust(width) for cell, width in zip(line, widths)]
        if style == "markdown":
            return "| " + " | ".join(cells) + " |"
        return "  ".join(cells).rstrip()

    return "\n".join(map(show, [head, ["-" * w for w in widths], *body]))


def _latex(lines):
    """A booktabs table."""

    def show(line):
        cells = (
            cell.replace("%", r"\%").replace("_", r"\_").replace("+-", r"$\pm$")
            for cell in line
        )
        return " & ".join(cells) + r" \\"

    head, *body = lines
    return "\n".join(
        [
            r"\begin{tabular}{ll" + "r" * (len(head) - 2) + "}",
            r"\toprule",
            show(head),
            r"\midrule",
            *map(show, body),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def interval_text(interval, scale=100):
    """Value and bounds of an interval, in percent."""
    value, low, high = (scale * interval[k] for k in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
