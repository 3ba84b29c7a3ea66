"""Runs -> one table: what a model gets wrong and what it gives away.

A run is a folder with ``results.json`` and ``audit.json``. Runs of the same
model with several seeds make one row group: mean +- standard deviation over
the seeds; a single run shows its 95 % interval over speakers.
"""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from speechbrain_privacy.report.comparable import by_model, check_audits
from speechbrain_privacy.report.pretraining import (
    describe_costs,
    describe_letters,
)
from speechbrain_privacy.report.scenarios import describe_scenarios
from speechbrain_privacy.report.tables import format_lines

GUESSING = 50.0
#: The tap that shows what every model is given.
FEATURES = "logmel"
#: Of the audit files that can be read.
SCHEMA = 2
FEW_SPEAKERS = 20
#: Speaker models of so many utterances have a column.
ENROLMENT = "enrolment_5"


@dataclass(frozen=True)
class Cell:
    """A rate in percent: its value and the text that a table shows."""

    value: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Row:
    """One representation of one model; ``error`` is what ``error_name`` says."""

    model: str
    tap: str
    error: Cell | None
    speaker: Cell
    same_gender: Cell | None
    enrolled: Cell | None
    gender: Cell | None


def load_run(folder):
    """Reads a run's results.

    Arguments
    ---------
    folder : str or Path
        Its output folder, or the file that ``packed.pack_run`` has made of it.

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
    if folder.is_file():
        try:
            run = json.loads(folder.read_text())
        except ValueError as fault:
            raise ValueError(f"{folder} is no JSON: {fault}") from None
        if not isinstance(run, dict) or "audit" not in run:
            raise ValueError(f"{folder} holds no packed results of a run")
        _check_schema(run["audit"], folder)
        return run
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not the output folder of a run")
    parts = []
    for name in ("results.json", "audit.json"):
        if not (folder / name).is_file():
            inside = sorted(x.parent.name for x in folder.glob(f"*/{name}"))
            raise FileNotFoundError(
                f"{folder} holds no {name}: "
                + (
                    f"give the runs in it, {', '.join(inside)}"
                    if inside
                    else "is its training finished?"
                )
            )
        parts.append(json.loads((folder / name).read_text()))
    _check_schema(parts[1], folder / "audit.json")
    return {**parts[0], "audit": parts[1]}


def _check_schema(audit, path):
    if audit.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} has schema {audit.get('schema')}, "
            f"this version reads {SCHEMA}: run the recipe again, which "
            "audits a finished model anew"
        )


def _pooled(intervals, scale):
    """One run: value and interval. Several: mean and SD over seeds."""
    if None in intervals:
        return None
    values = [scale * interval["value"] for interval in intervals]
    if len(values) == 1:
        value, only = values[0], intervals[0]
        if "low" not in only:
            return Cell(value, value, value, f"{value:.1f}")
        low, high = scale * only["low"], scale * only["high"]
        return Cell(value, low, high, f"{value:.1f} [{low:.1f}, {high:.1f}]")
    mean, spread = statistics.mean(values), statistics.stdev(values)
    return Cell(
        mean, mean - spread, mean + spread, f"{mean:.1f} +- {spread:.1f}"
    )


def _speaker(attack, pairing="all"):
    """The EER interval of the attacker that counts, or None."""
    report = attack["attackers"][attack["chosen"]].get(pairing)
    return report and report["intervals"]["eer"]


def _gender(tap):
    attack = tap.get("gender")
    return attack and attack["attackers"][attack["chosen"]]["eer"]


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
    models = by_model(runs)
    check_audits(runs)
    rows = []
    for name, same in models.items():
        for tap in same[0]["audit"]["taps"]:
            features = tap == FEATURES
            # What the model is given is the same for every seed.
            seeds = same[:1] if features else same
            errors = [_error(run, tap) for run in same]
            if features:
                # Not every run has probed them.
                known = (_error(run, tap) for run in runs)
                errors = [next((error for error in known if error), None)]
            rows.append(
                _row(
                    "features" if features else name,
                    tap,
                    _pooled(errors, 1.0),
                    [run["audit"]["taps"][tap]["speaker"] for run in seeds],
                    [_gender(run["audit"]["taps"][tap]) for run in seeds],
                )
            )
        for control, attack in same[0]["audit"].get("controls", {}).items():
            rows.append(_row("control", control, None, [attack], [None]))
        if shuffled := _shuffled(same[0]):
            rows.append(shuffled)
    # Features and controls first, and once: they are those of every model.
    once = {
        (row.model, row.tap): row for row in reversed(rows)
        if row.model not in models
    }  # fmt: skip
    return [*reversed(once.values()), *(r for r in rows if r.model in models)]


def _shuffled(run):
    """The EER of the first tap's attacker if speakers are shuffled, a row."""
    attack = next(iter(run["audit"]["taps"].values()))["speaker"]
    null = attack.get("null", {}).get("eer")
    if null is None:
        return None
    level = {"value": null["mean"], **null}
    cell = _pooled([level], 100)
    return Row("control", "shuffled labels", None, cell, None, None, None)


def error_name(runs):
    """What the runs get wrong: words, or phones of frames.

    Raises
    ------
    ValueError
        If they do not all do the same.
    """
    names = {"WER %" if "WER" in run else "phone error %" for run in runs}
    if len(names) > 1:
        raise ValueError(
            "some runs recognise words, others were pre-trained: their errors "
            "do not compare"
        )
    return names.pop()


def _error(run, tap):
    """The run's own error, of the whole model or of one tap."""
    if "WER" in run:
        return None if tap == FEATURES else run["WER"]
    return run.get("phones", {}).get(tap, {}).get("error")


def _row(model, tap, error, attacks, genders):
    return Row(
        model=model,
        tap=tap,
        error=error,
        speaker=_pooled([_speaker(a) for a in attacks], 100),
        same_gender=_pooled([_speaker(a, "same_gender") for a in attacks], 100),
        enrolled=_pooled([_speaker(a, ENROLMENT) for a in attacks], 100),
        gender=_pooled(genders, 100),
    )


def header(runs):
    """The first line of a table of runs."""
    return (
        "model",
        "representation",
        error_name(runs),
        "speaker EER %",
        "same gender",
        "5 enrolled",
        "gender EER %",
    )


def table_lines(rows):
    """Rows -> cells of text, with the line of guessing; without a header."""
    lines = [
        (
            row.model,
            row.tap,
            *(
                cell.text if cell else "-"
                for cell in (
                    row.error,
                    row.speaker,
                    row.same_gender,
                    row.enrolled,
                    row.gender,
                )
            ),
        )
        for row in rows
    ]
    guess = f"{GUESSING:.1f}"
    return [*lines, ("guessing", "-", "-", guess, guess, guess, guess)]


def format_table(runs, style="text"):
    """Runs -> a table; for the styles see ``tables.format_lines``."""
    return format_lines([header(runs), *table_lines(summarise(runs))], style)


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
        else "brackets: 95 % interval over speakers, one seed"
    )
    weak = sorted(
        {name for run in runs for name in run["audit"].get("too_weak", [])}
    )
    warning = (
        f"\ntoo weak even on clear features, says little: {', '.join(weak)}."
        if weak
        else ""
    )
    taps = [
        attack["chosen"]
        for run in runs
        for attack in (tap["speaker"] for tap in run["audit"]["taps"].values())
    ]
    attackers = ", ".join(dict.fromkeys(taps))
    return (
        f"{_errors_of(runs)} on {audit['test']['speakers']}"
        f" speakers and {audit['test']['utterances']} utterances that neither "
        "model nor attacker was trained on;\n"
        f"attackers trained afresh on {audit['train']['speakers']} speakers "
        f"({audit['scenario']}), the strongest on "
        f"{audit['taps'][next(iter(audit['taps']))]['speaker']['chosen_on']} "
        f"counts (here: {attackers});\n"
        "speaker EER: single utterances, all pairs; 5 enrolled: models of five "
        "utterances, the\nattacker that is strongest on single ones; "
        f"{spread}.\n"
        "Higher EER = less is given away; 50 % is guessing."
        f"{warning}{_small(audit)}{_warned(runs)}"
    )


def _errors_of(runs):
    """What the column of errors says, as text, up to the attacks."""
    if "WER" in runs[0]:
        return f"WER ({runs[0]['decoding']}) and attacks"
    found = [x for run in runs for x in run.get("phones", {}).values()]
    if not found:
        return "No phones (no alignment), attacks"
    n = max(x["error"].get("n_speakers", 0) for x in found)
    folds = {(run.get("probe") or {}).get("folds") for run in runs} - {None}
    learnt = f", learnt on the others in {min(folds)} folds" if folds else ""
    return (
        f"Phones by a linear probe on frames of {n} aligned speakers"
        f"{learnt} (always the most frequent one: {found[0]['majority']:.1f} % "
        "wrong).\nAttacks"
    )


def _small(audit):
    n = audit["test"]["speakers"]
    if n >= FEW_SPEAKERS:
        return ""
    return f"\n{n} speakers: the intervals are rough guesses."


def _warned(runs):
    """What is to be known of the intervals of errors."""
    errors = [run.get("WER") or {} for run in runs]
    errors += [
        found["error"]
        for run in runs
        for found in run.get("phones", {}).values()
    ]
    warnings = dict.fromkeys(x["warning"] for x in errors if x.get("warning"))
    return "".join(f"\nerrors: {text}." for text in warnings)


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
            if value is not None
        )
        lines.append(
            f"{run['name']}, seed {run['seed']}: training adversaries on "
            f"{found['utterances']} held-out utterances of training speakers, "
            f"accuracy %: {best} (most frequent class: {chance})"
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
        format_table(runs),
        describe(runs),
        describe_adversaries(runs),
        describe_scenarios(runs),
        describe_letters(runs),
        describe_costs(runs),
    ]
    print("\n" + "\n\n".join(part for part in parts if part) + "\n")
