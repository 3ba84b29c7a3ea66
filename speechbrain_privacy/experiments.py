"""What every recipe does around its Brain: fit, test, audit, write.

A recipe's ``train.py`` says what goes in; values come from its YAML.
"""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from pydoc import locate

from speechbrain.dataio.sampler import DynamicBatchSampler
from speechbrain.utils.distributed import run_on_main
from speechbrain.utils.logger import get_logger

from speechbrain_privacy.audit.provenance import identity
from speechbrain_privacy.audit.units import units_of
from speechbrain_privacy.brains.meter import EFFICIENCY, write_cost
from speechbrain_privacy.brains.milestones import error_over_cost
from speechbrain_privacy.dataio.balance import balanced
from speechbrain_privacy.dataio.files import write_json
from speechbrain_privacy.dataio.ragged import read_spent
from speechbrain_privacy.dataio.speech import with_codes
from speechbrain_privacy.metrics.error_rates import (
    character_errors,
    word_errors,
)
from speechbrain_privacy.metrics.fairness import group_rates
from speechbrain_privacy.metrics.poisson import poisson_mixed_model
from speechbrain_privacy.metrics.uncertainty import ratio_interval, scaled

logger = get_logger(__name__)

RESULTS = "results.json"
AUDIT = "audit.json"
SPLITS = ("train", "valid", "test", "seen")


def choose_manifests(paths, manifest_folder, prepare):
    """The recipe's own manifests, or the user's.

    Arguments
    ---------
    paths : dict
        Split -> CSV path. ``seen`` (held-out utterances of training
        speakers) may be left empty, and is left out when the training
        manifest is the user's and ``seen`` still the recipe's.
    manifest_folder : str
        Where the recipe's own manifests are.
    prepare : dict
        What makes them, only if one of them is used: ``function``, a dotted
        name, and its arguments.

    Returns
    -------
    dict
        Split -> path of the manifests to use.

    Raises
    ------
    ValueError
        If the user gives some of train, valid and test but not all.
    """
    own = {
        split: Path(path).parent == Path(manifest_folder)
        for split, path in paths.items()
        if path
    }
    main = [own[split] for split in ("train", "valid", "test")]
    if any(main) and not all(main):
        raise ValueError(
            "give train_manifest, valid_manifest and test_manifest together, "
            "or none of them: speakers of two corpora must not be mixed"
        )
    if all(main):
        run_on_main(_prepare, kwargs=prepare)
        return {split: path for split, path in paths.items() if path}
    return {split: paths[split] for split, mine in own.items() if not mine}


def _prepare(function, **arguments):
    found = locate(function)
    if found is None:
        raise ValueError(
            f"prepare: there is no function '{function}' beside the recipe"
        )
    found(**arguments)


def fit(
    brain,
    data,
    output_folder,
    batch_seconds,
    num_buckets=10,
    num_workers=0,
    seed=0,
    balance=None,
    builds_on=None,
):
    """Trains on batches of about equal duration.

    With a meter, what it has cost, with what was spent on its data
    (``data.spent``) before, is written to ``efficiency.json``.

    Arguments
    ---------
    brain : AdversarialBrain
    data : ASRData or SpeechData
    output_folder : str
    batch_seconds : float
        Audio in a batch, padding included.
    num_buckets : int
        Of utterance lengths: with more of them batches have less padding,
        and utterances meet fewer others.
    num_workers : int
        Processes that read audio.
    seed : int
        Of the order of the batches.
    balance : str, optional
        A column, e.g. ``gender``: its groups get equal shares of the audio.
    builds_on : dict, optional
        Name -> folder, or encoder, of a run whose costs are part of this
        one's; see ``EfficiencyMeter.carry_all``.
    """
    if not batch_seconds > 0:
        raise ValueError(f"batch_seconds is {batch_seconds}: some audio a step")
    if brain.epoch_counter.limit < 0:
        raise ValueError(
            f"number_of_epochs is {brain.epoch_counter.limit}: 0 or more"
        )
    if brain.meter is not None:
        brain.meter.carry_all(builds_on or {}, data.spent, brain.checkpointer)
    train = data.datasets["train"]
    if balance:
        train = balanced(train, data.manifests["train"], balance, seed)
    sampler = DynamicBatchSampler(
        train,
        batch_seconds,
        num_buckets=num_buckets,
        seed=seed,
    )
    brain.fit(
        brain.epoch_counter,
        train,
        data.datasets["valid"],
        train_loader_kwargs={
            "batch_sampler": sampler,
            "num_workers": num_workers,
        },
        valid_loader_kwargs={"batch_size": 16, "num_workers": num_workers},
    )
    if brain.meter is not None:
        path = Path(output_folder) / EFFICIENCY
        known = [path, brain.efficiency(), brain.meter.seen]
        run_on_main(write_cost, args=known)
    brain.unwrap_modules()


def add_units(data, path, n_units, frames_of, source, seed=0):
    """Clusters frames and gives every utterance its units, as ``codes``.

    Arguments
    ---------
    data : SpeechData
        Clusters are learnt on ``train``.
    path : str or Path
        Where units are kept; those of the same data, number, seed and source
        are used again.
    n_units : int
    frames_of : callable
        Dataset -> ``(ID, [frames, dim])`` in turn.
    source : str
        What ``frames_of`` is, for ``path``.
    seed : int
    """
    splits = [split for split in SPLITS[:3] if split in data.datasets]
    prints = [data.manifests[split].fingerprint() for split in splits]
    identity = " ".join([*prints, str(n_units), str(seed), source])
    datasets = [data.datasets[split] for split in splits]
    units = units_of(datasets, n_units, frames_of, path, identity, seed=seed)
    data.spent["units"] = read_spent(path)
    for split in splits:
        with_codes(data.datasets[split], units)


def evaluate(brain, data, output_folder, name, seed, groups=("gender",)):
    """Tests the last checkpoint and writes ``results.json``.

    Arguments
    ---------
    brain : CTCBrain
    data : ASRData
    output_folder : str
    name : str
        Of the model, in tables.
    seed : int
        Of the training, to be stored.
    groups : sequence of str
        Manifest columns whose groups are compared.

    Returns
    -------
    dict
        As written; also ``test_transcripts.csv``.
    """
    brain.evaluate(data.datasets["test"], test_loader_kwargs={"batch_size": 16})
    transcripts = brain.transcripts
    brain.write_transcripts(Path(output_folder) / "test_transcripts.csv")
    rows = {row["ID"]: row for row in data.manifests["test"].rows}
    words, characters = (
        [count(ref, hyp) for _, ref, hyp in transcripts]
        for count in (word_errors, character_errors)
    )
    told = [rows[key] for key, _, _ in transcripts]
    results = {
        **identity(brain, data, name, seed, output_folder),
        "efficiency": _spent(output_folder),
        "skipped_in_training": data.skipped,
        "decoding": "greedy" if brain.searcher is None else "beam search",
        "WER": _rate(words, told),
        "CER": _rate(characters, told),
    }
    results["fairness"] = {
        column: _fairness(words, told, column)
        for column in groups
        if any(row.get(column) for row in told)
    }
    results["by_speaker"] = _by_speaker(words, told)
    if "seen" in data.datasets:
        results["adversaries"] = {
            "accuracy": brain.adversary_accuracy(
                data.datasets["seen"], batch_size=16
            ),
            # Guessing the most frequent class.
            "chance": {
                attribute: _majority(data.manifests["seen"], attribute)
                for attribute in data.labels.attributes
            },
            "utterances": len(data.datasets["seen"]),
        }
    write_json(Path(output_folder) / RESULTS, results)
    return results


def evaluate_pretraining(
    brain,
    data,
    output_folder,
    name,
    seed,
    probe=None,
    alignments=None,
    transcripts=None,
):
    """Scores the last checkpoint on test data; writes ``results.json``.

    Arguments
    ---------
    brain : PretrainingBrain
    data : SpeechData
        ``probe``, if there is such a split, is what phones are probed on
        instead of ``test``.
    output_folder : str
    name : str
        Of the model, in tables.
    seed : int
        Of the training, to be stored.
    probe : PhoneProbe, optional
        Also of the encoders that the Brain has kept on its way (``curve``,
        which ends with the finished one).
    alignments : dict, optional
        Of the utterances; without it phones are not probed.
    transcripts : TranscriptProbe, optional
        Reads characters; ``learn``, if there is such a split, is what it
        learns on instead of ``train``.

    Returns
    -------
    dict
        As written.
    """
    brain.evaluate(data.datasets["test"], test_loader_kwargs={"batch_size": 16})
    results = {
        **identity(brain, data, name, seed, output_folder),
        "efficiency": _spent(output_folder),
        "hidden frames": brain.valid_stats,
    }
    write_json(Path(output_folder) / RESULTS, results)
    parts = {s: (data.datasets[s], data.manifests[s]) for s in data.datasets}
    progressbar = not brain.noprogressbar
    if probe is not None and alignments is not None:
        sides = parts["train"], parts.get("probe", parts["test"])

        def phones(taps=None):
            return probe.run(brain, *sides, alignments, progressbar, taps)

        results["probe"] = probe.settings
        results["phones"] = last = phones()
        name = probe.curve
        results["curve"] = error_over_cost(
            brain,
            lambda: phones([name])[name],
            last[name],
            results["efficiency"],
        )
        write_json(Path(output_folder) / RESULTS, results)
    if transcripts is not None:
        results["characters"] = transcripts.run(
            brain,
            parts[attackers_split(data)],
            parts["test"],
            progressbar,
        )
        write_json(Path(output_folder) / RESULTS, results)
    return results


def _spent(output_folder):
    """What training has cost, if it was metered: all processes' sums, which
    cannot be asked for when the others have left."""
    path = Path(output_folder) / EFFICIENCY
    return json.loads(path.read_text()) if path.is_file() else None


def _majority(manifest, attribute):
    """Share of an attribute's most frequent known value."""
    values = [value for value in manifest.values(attribute) if value]
    return max(Counter(values).values()) / len(values) if values else None


def _fairness(words, rows, column):
    """Errors per word by group; why not, where they cannot be compared."""
    lists = (
        [c.errors for c in words],
        [c.reference for c in words],
        [row.get("spk_id", "") for row in rows],
        [row.get(column, "") for row in rows],
    )
    found = {}
    for name, function in (
        ("rates", group_rates),
        ("mixed_model", poisson_mixed_model),
    ):
        try:
            found[name] = asdict(function(*lists))
        except ValueError as fault:
            found[name] = {"not_compared": str(fault)}
    return found


def _by_speaker(words, rows):
    """Word errors and reference words of each known speaker."""
    found = {}
    for counts, row in zip(words, rows, strict=True):
        if speaker := row.get("spk_id", ""):
            errors, total = found.get(speaker, (0, 0))
            found[speaker] = (errors + counts.errors, total + counts.reference)
    return found


def _rate(counts, rows):
    """Percent, with an interval over speakers where these are known."""
    speakers = [row.get("spk_id", "") for row in rows]
    if "" in speakers or len(set(speakers)) < 2:
        total = sum(counts[1:], counts[0])
        return {"value": total.rate, "n_speakers": len(set(speakers) - {""})}
    interval = ratio_interval(
        [c.errors for c in counts],
        [c.reference for c in counts],
        speakers,
    )
    return asdict(scaled(interval, 100.0))


def attackers_split(data):
    """The split that attackers and readers learn on: ``learn``, or ``train``."""
    return "learn" if "learn" in data.datasets else "train"


def audit(brain, data, auditor, output_folder):
    """Audits the trained model and writes ``audit.json``.

    Arguments
    ---------
    brain : CTCBrain
    data : ASRData
        Attackers learn on ``train`` (on ``learn``, if there is such a
        split), the one that counts is chosen on ``valid``, and is scored on
        ``test``.
    auditor : Audit
    output_folder : str

    Returns
    -------
    dict
        As written.
    """
    learn = attackers_split(data)
    found = auditor.run(
        brain,
        train=(data.datasets[learn], data.manifests[learn]),
        test=(data.datasets["test"], data.manifests["test"]),
        dev=(data.datasets["valid"], data.manifests["valid"]),
        progressbar=not brain.noprogressbar,
    )
    write_json(Path(output_folder) / AUDIT, found)
    return found
