"""Runs as one web page that needs nothing beside itself."""

import html
import io
from pathlib import Path

from speechbrain_privacy.metrics.legal import SET_SIZE, guessing
from speechbrain_privacy.report import plots
from speechbrain_privacy.report.pretraining import (
    COSTS,
    SPENT,
    cost_lines,
    costs_header,
    curves,
    explain_costs,
    letter_lines,
    spending_lines,
)
from speechbrain_privacy.report.scenarios import HEADER, scenario_lines
from speechbrain_privacy.report.summary import (
    ENROLMENT,
    FEATURES,
    describe,
    describe_adversaries,
    error_name,
    header,
    summarise,
    table_lines,
)
from speechbrain_privacy.report.tables import interval_text

KNOWLEDGE = {
    "unprotected": "attack on the unprotected model: is the attacker good?",
    "ignorant": "learnt and enrolled without protection",
    "aligned": "as ignorant, trials rotated back (Procrustes)",
    "lazy-informed": "learnt without, enrolled with protection",
    "semi-informed": "learnt and enrolled with protection",
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto;
  max-width: 68rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 0.86rem; display: block;
  overflow-x: auto; }
th, td { padding: 0.3rem 0.7rem; text-align: left; white-space: nowrap;
  border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; }
td.number { font-variant-numeric: tabular-nums; }
tr.guessing td { color: #777; }
.pictures { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(28rem, 100%), 1fr)); }
figure { margin: 0; } figure svg { width: 100%; height: auto; }
figcaption, .note { color: #555; font-size: 0.86rem; }
"""


def write_page(runs, path, comparison="", cost="flops"):
    """Writes the page.

    Arguments
    ---------
    runs : list of dict
        From ``summary.load_run``.
    path : str or Path
    comparison : str
        Text of ``compare.format_differences``, if any.
    cost : str
        What errors of pre-trained models are told over, of
        ``pretraining.COSTS``.

    Returns
    -------
    Path
    """
    rows = summarise(runs)
    reports = _chosen_reports(runs)
    parts = [
        "<h1>What gives the speaker away</h1>",
        _table(header(runs), table_lines(rows)),
        _note(describe(runs)),
    ]
    if told := describe_adversaries(runs):
        parts.append(_note(told))
    if comparison:
        parts.append("<h2>Is the difference real?</h2>")
        parts.append(f"<pre>{html.escape(comparison)}</pre>")
    parts += [
        "<h2>Pictures</h2><div class='pictures'>",
        _picture(
            plots.tradeoff(rows, error_name(runs)),
            "Usefulness and privacy. Bars: 95 % over speakers, or the "
            "standard deviation over seeds.",
        ),
        _picture(
            plots.speakers(reports),
            "Who is exposed: the speakers' own error rates. Grey: the most "
            "exposed 5 %.",
        ),
        _picture(
            plots.det(reports), "Detection errors on the ROC convex hull."
        ),
        _picture(
            plots.cross_entropy(reports),
            "What an attacker with any prior still has to find out after the "
            "attack.",
        ),
        _picture(
            plots.tippett(reports),
            "How sure the attack is, after calibration: the further the two "
            "lines of a colour are apart, the more it knows.",
        ),
        "</div>",
        "<h2>Every attacker</h2>",
        _note(
            "Of speakers, trained afresh on the frozen model. In bold: the one "
            "that counts. Training accuracy: of the last epoch, closed set."
        ),
        _attackers(runs),
        _note("Of attributes:"),
        _attribute_attackers(runs),
    ]
    if lines := scenario_lines(runs):
        parts += [
            "<h2>And if the attacker does not know of the protection?</h2>",
            _note(
                "; ".join(f"{name}: {what}" for name, what in KNOWLEDGE.items())
            ),
            _table(HEADER, lines),
        ]
    if legal := _legal(runs):
        parts += [
            "<h2>Can one speaker be linked, or singled out?</h2>",
            _note(
                "By the attacker that counts, among ten speakers (or one fewer "
                "than all). Linked: the own speaker model scores highest. "
                "Singled out: a threshold learnt on other "
                "utterances isolates one speaker; guessing is up to 37 %."
            ),
            legal,
        ]
    if lines := letter_lines(runs):
        parts += ["<h2>What can be read?</h2>", _table(lines[0], lines[1:])]
    costs, spent = cost_lines(runs, cost), spending_lines(runs)
    if costs or spent:
        parts.append("<h2>What does it cost?</h2>")
    if costs:
        parts += [
            _table(costs_header(cost), costs),
            _note(explain_costs(runs, cost)),
            _picture(
                plots.costs(curves(runs, cost), COSTS[cost][2]),
                "Phone error over the cost of training. Thin: single seeds.",
            ),
        ]
    if spent:
        parts += [_table(spent[0], spent[1:]), _note(SPENT)]
    if groups := _groups(runs):
        parts += ["<h2>Does it work for everybody?</h2>", groups]
    parts += ["<h2>Where the numbers come from</h2>", _origin(runs)]
    text = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>Privacy report</title><style>{STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".partial-{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path


def _chosen_reports(runs):
    """Name -> report of the attacker that counts; features once."""
    found = {}
    for run in runs:
        for tap, attacks in run["audit"]["taps"].items():
            attack = attacks["speaker"]
            name = tap if tap == FEATURES else f"{_name(run, runs)}: {tap}"
            found.setdefault(name, attack["attackers"][attack["chosen"]]["all"])
    return found


def _name(run, runs):
    several = sum(other["name"] == run["name"] for other in runs) > 1
    return f"{run['name']}/{run['seed']}" if several else run["name"]


def _note(text):
    lines = "<br>".join(html.escape(line) for line in text.splitlines())
    return f"<p class='note'>{lines}</p>"


def _table(header, lines, bold=()):
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = []
    for i, line in enumerate(lines):
        kind = " class='guessing'" if line[0] == "guessing" else ""
        tag = ("<b>", "</b>") if i in bold else ("", "")
        body.append(
            f"<tr{kind}>"
            + "".join(
                f"<td class='number'>{tag[0]}{html.escape(cell)}{tag[1]}</td>"
                for cell in line
            )
            + "</tr>"
        )
    return f"<table><tr>{cells}</tr>{''.join(body)}</table>"


def _picture(figure, caption):
    text = io.StringIO()
    figure.savefig(text, format="svg")
    svg = text.getvalue()
    return (
        f"<figure>{svg[svg.index('<svg') :]}"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _attackers(runs):
    lines, bold = [], set()
    for run in runs:
        parts = {
            **{tap: t["speaker"] for tap, t in run["audit"]["taps"].items()},
            **run["audit"].get("controls", {}),
        }
        for tap, attack in parts.items():
            for name, found in attack["attackers"].items():
                if name == attack["chosen"]:
                    bold.add(len(lines))
                rate = found["all"]["intervals"]["eer"]
                accuracy = (found.get("training") or {}).get("accuracy")
                lines.append(
                    (
                        _name(run, runs),
                        tap,
                        name,
                        interval_text(rate),
                        interval_text(enrolled["intervals"]["eer"])
                        if (enrolled := found.get(ENROLMENT))
                        else "-",
                        f"{found['all']['intervals']['min_cllr']['value']:.3f}",
                        f"{100 * found['dev_eer']:.1f}"
                        if "dev_eer" in found
                        else "-",
                        f"{100 * accuracy[-1]:.0f}" if accuracy else "-",
                    )
                )
    header = (
        "model",
        "representation",
        "attacker",
        "EER %",
        "5 enrolled",
        "Cllr_min",
        "EER %, development",
        "training accuracy %",
    )
    return _table(header, lines, bold)


def _attribute_attackers(runs):
    lines, bold = [], set()
    for run in runs:
        for tap, attacks in run["audit"]["taps"].items():
            for attribute, attack in attacks.items():
                if attribute in ("dim", "speaker"):
                    continue
                for name, found in attack["attackers"].items():
                    if name == attack["chosen"]:
                        bold.add(len(lines))
                    rate = interval_text(found["eer"])
                    lines.append((_name(run, runs), tap, attribute, name, rate))
    header = ("model", "representation", "attribute", "attacker", "EER %")
    return _table(header, lines, bold)


def _legal(runs):
    lines = []
    for run in runs:
        for tap, attacks in run["audit"]["taps"].items():
            for pairing, found in attacks["speaker"].get("legal", {}).items():
                size = pairing.removeprefix("enrolment_").replace("all", "1")
                who = (_name(run, runs), tap, size)
                if "not_searched" in found:
                    lines.append((*who, found["not_searched"], "", ""))
                    continue
                linking, out = found["linking"], found.get("singling_out")
                set_size = min(SET_SIZE, linking["n_speakers"] - 1)
                guess = 100 * guessing(set_size)["linking"]
                lines.append(
                    (
                        *who,
                        interval_text(linking),
                        f"{guess:.1f}",
                        interval_text(out)
                        if out
                        else "one item each: nothing to calibrate on",
                    )
                )
    header = (
        "model",
        "representation",
        "utterances of a speaker model",
        "linked %",
        "guessing",
        "singled out %",
    )
    return _table(header, lines) if lines else ""


def _groups(runs):
    """Error rates and privacy of the groups that the runs tell apart."""
    lines = []
    for run in runs:
        for column, found in run.get("fairness", {}).items():
            rates = found["rates"]
            if "not_compared" in rates:
                continue
            for group, rate in rates["rates"].items():
                lines.append(
                    (
                        _name(run, runs),
                        f"{column} {group}",
                        str(rates["speakers"][group]),
                        interval_text(rate),
                        *(
                            _group_eer(tap, column, group)
                            for tap in run["audit"]["taps"].values()
                        ),
                    )
                )
            gap = rates["gap"]
            lines.append(
                (
                    _name(run, runs),
                    f"gap, {rates['worst']} less {rates['best']}",
                    "",
                    f"{interval_text(gap)}, p = {gap['p_value']:.2f}",
                    *(
                        _group_gap(tap, column)
                        for tap in run["audit"]["taps"].values()
                    ),
                )
            )
    taps = dict.fromkeys(tap for run in runs for tap in run["audit"]["taps"])
    n_taps = max(len(run["audit"]["taps"]) for run in runs)
    if len(taps) != n_taps:
        # Not every run has every tap: name what is in the column by run.
        taps = [f"tap {i + 1}" for i in range(n_taps)]
    header = (
        "model",
        "group",
        "speakers",
        "WER %",
        *(f"EER % within, {tap}" for tap in taps),
    )
    lines = [line + ("",) * (len(header) - len(line)) for line in lines]
    return _table(header, lines) if lines else ""


def _group_eer(tap, column, group):
    found = tap["speaker"].get("groups", {}).get(column, {})
    interval = found.get("metrics", {}).get(group, {}).get("eer")
    return interval_text(interval) if interval else "-"


def _group_gap(tap, column):
    found = tap["speaker"].get("groups", {}).get(column, {})
    if "gaps" not in found:
        return "-"
    gap = found["gaps"]["eer"]
    return f"{interval_text(gap)}, p = {gap['p_value']:.2f}"


def _origin(runs):
    lines = []
    for run in runs:
        audit = run["audit"]
        lines.append(
            (
                _name(run, runs),
                str(run["seed"]),
                audit["test"]["fingerprint"],
                audit.get("provenance", {}).get("git", "")[:12] or "-",
                ", ".join(
                    f"{name} {version}"
                    for name, version in audit.get("provenance", {}).items()
                    if name in ("speechbrain", "torch", "numpy")
                ),
            )
        )
    header = ("model", "seed", "test data", "commit of the audit", "versions")
    return _table(header, lines)
