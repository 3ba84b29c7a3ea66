"""What attackers find, as pictures."""

from pathlib import Path

import numpy as np
from scipy.stats import norm

from speechbrain_privacy.metrics.efficiency import mean_curve
from speechbrain_privacy.report.summary import GUESSING

MARKERS = {"encoder": "o", "posteriors": "s"}
#: Names that a legend has room for beside what is drawn.
MOST_INSIDE = 6
#: Of matplotlib's cycle; further models look otherwise in the same ones.
COLOURS = 10


def tradeoff(rows, error="WER %"):
    """Error against speaker EER, one colour per model.

    Bars are the intervals (or standard deviations) of the table; features
    without an error of their own are a dashed line; the dotted line at 50 %
    is guessing. Controls are left to the table.

    Arguments
    ---------
    rows : list of Row
        From ``summary.summarise``.
    error : str
        What is wrong how often: ``summary.error_name``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _axes()
    models = list(dict.fromkeys(row.model for row in rows if row.error))
    for row in rows:
        if row.model == "control":  # as good as guessing, or in the table
            continue
        if row.error is None:
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
            row.error.value,
            row.speaker.value,
            xerr=_bars(row.error),
            yerr=_bars(row.speaker),
            fmt=MARKERS.get(row.tap, "^"),
            color=f"C{models.index(row.model)}",
            mfc="none" if models.index(row.model) >= COLOURS else None,
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
    axes.set_xlabel(f"{error}  (left: more useful)")
    axes.set_ylabel("EER of a fresh speaker attacker, %\n(up: more private)")
    axes.set_ylim(0, 58)
    axes.set_xlim(left=max(0, axes.get_xlim()[0]))
    _legend(axes, loc="lower right", framealpha=0.9)
    return figure


def speakers(reports):
    """Who is exposed: each speaker's own EER, from the lowest.

    Arguments
    ---------
    reports : dict
        Name -> report of trials (see ``metrics.evaluation``).

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _axes()
    colours = _colours(reports)
    for name, report in reports.items():
        rates = 100 * np.array(sorted(report["by_speaker"].values()))
        share = (np.arange(len(rates)) + 0.5) / len(rates) * 100
        axes.plot(
            rates, share, marker=".", lw=1, color=colours[name], label=name
        )
    axes.axvline(GUESSING, color="0.4", linestyle=":", lw=1)
    axes.axhspan(0, 5, color="0.9", zorder=0)
    axes.set_xlabel("EER of a speaker's own trials, %  (left: more exposed)")
    axes.set_ylabel("speakers at or below, %")
    axes.set_xlim(0, 70)
    _legend(axes, loc="lower right")
    return figure


def costs(curves, label="training operations, TFLOP"):
    """Error against the logarithm of the cost, one colour per model.

    Arguments
    ---------
    curves : dict
        Model -> a ``Curve`` for each seed: ``pretraining.curves``.
    label : str
        Of the costs.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _axes()
    for i, (name, some) in enumerate(curves.items()):
        look = {"color": f"C{i}", "ls": "--" if i >= COLOURS else "-"}
        for run in some:
            axes.plot(run.costs, run.errors, **look, lw=0.7, alpha=0.5)
        if len({len(run.costs) for run in some}) == 1:
            mean = mean_curve(some)
            axes.plot(
                mean.costs,
                mean.errors,
                **look,
                marker="o",
                markersize=4,
                label=name,
            )
        else:
            axes.plot([], [], **look, label=name)
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("phone error %")
    _legend(axes)
    return figure


def det(reports):
    """Detection error trade-off of the ROC convex hulls, normal deviates.

    Arguments
    ---------
    reports : dict
        Name -> report of trials.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _axes()
    colours = _colours(reports)
    for name, report in reports.items():
        mated, nonmated = _rates(report)
        miss = np.concatenate([[0], np.cumsum(mated)])
        alarm = 1 - np.concatenate([[0], np.cumsum(nonmated)])
        # Straight on the hull, curved between deviates: many points.
        t = np.linspace(0, len(miss) - 1, 2000)
        at = np.arange(len(miss))
        miss, alarm = np.interp(t, at, miss), np.interp(t, at, alarm)
        inside = (miss > 0) & (miss < 1) & (alarm > 0) & (alarm < 1)
        axes.plot(
            norm.ppf(alarm[inside]),
            norm.ppf(miss[inside]),
            color=colours[name],
            label=name,
        )
    ticks = np.array([0.1, 1, 5, 20, 50, 80, 95, 99])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(norm.ppf(ticks / 100), [f"{t:g}" for t in ticks])
    axes.plot([-3.3, 2.5], [3.3, -2.5], color="0.4", linestyle=":", lw=1)
    axes.set_xlim(-3.3, 2.5)
    axes.set_ylim(-3.3, 2.5)
    axes.set_xlabel("false alarms, %")
    axes.set_ylabel("misses, %")
    _legend(axes, loc="lower left")
    return figure


def cross_entropy(reports):
    """Empirical cross-entropy over priors: what is left to find out.

    Arguments
    ---------
    reports : dict
        Name -> report of trials.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _axes()
    log_odds = np.linspace(-6, 6, 241)
    prior = 1 / (1 + np.exp(-log_odds))
    entropy = -prior * np.log2(prior) - (1 - prior) * np.log2(1 - prior)
    axes.plot(log_odds, entropy, color="0.4", linestyle=":", label="guessing")
    colours = _colours(reports)
    for name, report in reports.items():
        mated, nonmated = _rates(report)
        left = np.zeros_like(prior)
        for share, other, weight in (
            (mated, nonmated, prior),
            (nonmated, mated, 1 - prior),
        ):
            used = share > 0
            mine = weight[:, None] * share[used]
            all_ = mine + (1 - weight)[:, None] * other[used]
            left -= np.sum(mine * np.log2(mine / all_), axis=1)
        axes.plot(log_odds, left, color=colours[name], label=name)
    axes.set_xlabel("prior log odds of a mated trial")
    axes.set_ylabel("cross-entropy after the attack, bit\n(up: more private)")
    axes.set_ylim(0, 1.35)
    _legend(axes, loc="upper center", ncol=2)
    return figure


def tippett(reports):
    """Shares of trials whose calibrated likelihood ratio is larger (Tippett).

    Arguments
    ---------
    reports : dict
        Name -> report of trials.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _axes()
    colours = _colours(reports)
    for name, report in reports.items():
        mated, nonmated = _rates(report)
        with np.errstate(divide="ignore"):
            ratio = np.log10(mated) - np.log10(nonmated)
        ratio = np.clip(ratio, -3, 3)
        edges = np.concatenate([[-3], ratio, [3]])
        for share, style, label in ((mated, "-", name), (nonmated, "--", None)):
            larger = 1 - np.concatenate([[0], np.cumsum(share)])
            axes.step(
                edges,
                100 * np.append(larger, 0),
                where="post",
                linestyle=style,
                color=colours[name],
                label=label,
            )
    axes.axvline(0, color="0.4", linestyle=":", lw=1)
    axes.set_xlabel("log10 likelihood ratio  (solid: mated, dashed: non-mated)")
    axes.set_ylabel("trials above, %")
    _legend(axes, loc="lower left")
    return figure


def _legend(axes, **inside):
    """What is what: inside, or beside the picture where there is much."""
    if len(axes.get_legend_handles_labels()[1]) > MOST_INSIDE:
        axes.figure.set_figwidth(9.0)
        inside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}
    axes.legend(fontsize=8, **inside)


def _colours(names):
    """A colour for each "model/seed: tap": shades of the model's own.

    Features, which have no model, are grey.
    """
    from matplotlib.colors import to_rgb  # slow to import, seldom needed

    models = list(dict.fromkeys(_model(name) for name in names if _model(name)))
    shades, found = {}, {}
    for name in names:
        model = _model(name)
        if not model:
            found[name] = "0.3"
            continue
        lighter = 0.35 * (shades.setdefault(model, 0) % 3)
        shades[model] += 1
        base = np.array(to_rgb(f"C{models.index(model) % COLOURS}"))
        found[name] = tuple(base + lighter * (1 - base))
    return found


def _model(name):
    """The model in "model/seed: tap", or nothing."""
    before, colon, _ = name.rpartition(": ")
    return before.split("/")[0] if colon else ""


def _axes():
    from matplotlib.figure import Figure  # slow to import, seldom needed

    figure = Figure(figsize=(6.0, 4.4), layout="constrained")
    return figure, figure.add_subplot()


def _rates(report):
    mated, nonmated = (
        np.array(report["hull"][kind]) for kind in ("mated", "nonmated")
    )
    return mated / mated.sum(), nonmated / nonmated.sum()


def save(figure, path):
    """Writes a picture whole; the suffix tells the format.

    Arguments
    ---------
    figure : matplotlib.figure.Figure
    path : str or Path

    Returns
    -------
    Path
    """
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
