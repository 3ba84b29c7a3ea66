"""The utility-privacy plane as a picture."""

from pathlib import Path

from speechbrain_privacy.report.summary import GUESSING

MARKERS = {"encoder": "o", "posteriors": "s"}


def plot_tradeoff(rows, path):
    """Draws word error rate against speaker EER, one colour per model.

    Bars are the intervals (or standard deviations) of the table; features,
    which have no word error rate, are a dashed line; the dotted line at 50 %
    is guessing.

    Arguments
    ---------
    rows : list of Row
        From ``summary.summarise``.
    path : str or Path
        A picture; the suffix tells the format.

    Returns
    -------
    Path
    """
    from matplotlib.figure import Figure  # slow to import, seldom needed

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    models = list(dict.fromkeys(row.model for row in rows if row.wer))
    for row in rows:
        if row.wer is None:
            axes.axhline(row.speaker.value, color="0.4", linestyle="--", lw=1)
            axes.annotate(
                f"{row.tap} {row.speaker.value:.1f} %",
                (0.01, row.speaker.value),
                xycoords=("axes fraction", "data"),
                ha="left",
                va="bottom",
                fontsize=8,
                color="0.3",
            )
            continue
        axes.errorbar(
            row.wer.value,
            row.speaker.value,
            xerr=_bars(row.wer),
            yerr=_bars(row.speaker),
            fmt=MARKERS.get(row.tap, "^"),
            color=f"C{models.index(row.model)}",
            capsize=3,
            markersize=7,
            label=f"{row.model}: {row.tap}",
        )
    axes.axhline(GUESSING, color="0.4", linestyle=":", lw=1)
    axes.annotate(
        "guessing",
        (0.99, GUESSING),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=8,
        color="0.3",
    )
    axes.set_xlabel("word error rate, %  (left: more useful)")
    axes.set_ylabel("EER of a fresh speaker attacker, %\n(up: more private)")
    axes.set_ylim(0, 58)
    axes.set_xlim(left=0)
    axes.legend(fontsize=8, loc="lower right", framealpha=0.9)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".partial-{path.name}")
    figure.savefig(temporary, dpi=150)
    temporary.replace(path)
    return path


def _bars(cell):
    return [
        [max(0.0, cell.value - cell.low)],
        [max(0.0, cell.high - cell.value)],
    ]
