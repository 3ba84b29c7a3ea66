"""Runs -> one table: what a model gets wrong and what it gives away.

A run is a folder with ``results.json`` and ``audit.json``. Runs of the same
model with several seeds make one row group: mean +- standard deviation over
the seeds; a single run shows its 95 % interval over speakers.
"""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

GUESSING = 50.0


@dataclass(frozen=True)
class Cell:
    """A rate in percent: its value and the text that a table shows."""

    value: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Row:
    """One representation of one model."""

    model: str
    tap: str
    wer: Cell | None
    speaker: Cell
    speaker_same_gender: Cell
    gender: Cell | None


def load_run(folder):
    """Reads a run's results.

    Arguments
    ---------
    folder : str or Path

    Returns
    -------
    dict
        ``results.json`` with the audit under ``audit``.

    Raises
    ------
    FileNotFoundError
        With one sentence, if the folder holds no finished run.
    """
    folder = Path(folder)
    parts = []
    for name in ("results.json", "audit.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} holds no {name}: is its training finished?"
            )
        parts.append(json.loads((folder / name).read_text()))
    return {**parts[0], "audit": parts[1]}


def _pooled(intervals, scale):
    """One run: value and interval. Several: mean and SD over seeds."""
    values = [scale * interval["value"] for interval in intervals]
    if len(values) == 1:
        low = scale * intervals[0].get("low", intervals[0]["value"])
        high = scale * intervals[0].get("high", intervals[0]["value"])
        return Cell(
            values[0], low, high, f"{values[0]:.1f} [{low:.1f}, {high:.1f}]"
        )
    mean, spread = statistics.mean(values), statistics.stdev(values)
    return Cell(
        mean, mean - spread, mean + spread, f"{mean:.1f} +- {spread:.1f}"
    )


def _worst(attackers, key="eer"):
    """The interval of the attacker with the lowest error."""
    return min(
        (found[key] for found in attackers.values()),
        key=lambda interval: interval["value"],
    )


def summarise(runs):
    """Runs -> rows, grouped by model, in the order of the runs.

    Arguments
    ---------
    runs : list of dict
        From ``load_run``.

    Returns
    -------
    list of Row
    """
    models = {}
    for run in runs:
        models.setdefault(run["name"], []).append(run)
    rows = []
    for name, same in models.items():
        for tap in same[0]["audit"]["taps"]:
            taps = [run["audit"]["taps"][tap] for run in same]
            features = tap == "logmel"
            gender = [_worst(t["gender"]) for t in taps if t.get("gender")]
            rows.append(
                Row(
                    model="features" if features else name,
                    tap=tap,
                    wer=None
                    if features
                    else _pooled([run["WER"] for run in same], 1.0),
                    speaker=_pooled([_worst(t["speaker"]) for t in taps], 100),
                    speaker_same_gender=_pooled(
                        [_worst(t["speaker"], "eer_same_gender") for t in taps],
                        100,
                    ),
                    gender=_pooled(gender, 100) if gender else None,
                )
            )
    return rows


def format_table(rows, markdown=False):
    """Rows -> text with aligned columns (a Markdown table if asked).

    Arguments
    ---------
    rows : list of Row
    markdown : bool

    Returns
    -------
    str
    """
    header = (
        "model",
        "representation",
        "WER %",
        "speaker EER %",
        "same gender",
        "gender EER %",
    )
    lines = [
        (
            row.model,
            row.tap,
            row.wer.text if row.wer else "-",
            row.speaker.text,
            row.speaker_same_gender.text,
            row.gender.text if row.gender else "-",
        )
        for row in rows
    ]
    guess = f"{GUESSING:.1f}"
    lines.append(("guessing", "-", "-", guess, guess, guess))
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(6)]

    def show(line):
        cells = [cell.ljust(width) for cell, width in zip(line, widths)]
        if markdown:
            return "| " + " | ".join(cells) + " |"
        return "  ".join(cells).rstrip()

    rule = ["-" * width for width in widths]
    return "\n".join(map(show, [header, rule, *lines]))


def describe(runs):
    """What the numbers of a table are, in two sentences."""
    audit = runs[0]["audit"]
    seeds = {}
    for run in runs:
        seeds.setdefault(run["name"], set()).add(run["seed"])
    n_seeds = max(map(len, seeds.values()))
    spread = (
        f"mean +- standard deviation over {n_seeds} training seeds"
        if n_seeds > 1
        else "brackets: 95 % bootstrap interval over speakers, one seed"
    )
    return (
        f"WER ({runs[0]['decoding']}) and attacks on {audit['test']['speakers']}"
        f" speakers and {audit['test']['utterances']} utterances that neither "
        "model nor attacker was trained on;\n"
        f"attackers trained afresh on {audit['train']['speakers']} speakers "
        f"({audit['scenario']});\n{spread}. Higher EER = less is given away; "
        "50 % is guessing."
    )


def describe_adversaries(runs):
    """How often the training adversaries were right, against chance."""
    lines = []
    for run in runs:
        found = run.get("adversaries") or {}
        if not found.get("accuracy"):
            continue
        best = ", ".join(
            f"{name} {100 * value:.1f}"
            for name, value in sorted(found["accuracy"].items())
        )
        chance = ", ".join(
            f"{attribute} {100 * value:.1f}"
            for attribute, value in found["chance"].items()
        )
        lines.append(
            f"{run['name']}, seed {run['seed']}: training adversaries on "
            f"{found['utterances']} held-out utterances of training speakers, "
            f"accuracy %: {best} (chance: {chance})"
        )
    return "\n".join(lines)


def print_runs(folders):
    """Prints the table of some runs.

    Arguments
    ---------
    folders : list of str or Path
    """
    runs = [load_run(folder) for folder in folders]
    parts = [
        format_table(summarise(runs)),
        describe(runs),
        describe_adversaries(runs),
    ]
    print("\n" + "\n\n".join(part for part in parts if part) + "\n")
