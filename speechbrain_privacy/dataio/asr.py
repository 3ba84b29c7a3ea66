"""From manifests to SpeechBrain datasets for speech recognition."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.distributed import run_on_main
from speechbrain.utils.logger import get_logger

from speechbrain_privacy.dataio.audio import read_utterance
from speechbrain_privacy.dataio.identity import remember
from speechbrain_privacy.dataio.labels import AttributeLabels
from speechbrain_privacy.dataio.manifest import (
    Manifest,
    ManifestError,
    read_manifest,
)

logger = get_logger(__name__)


@dataclass
class ASRData:
    """Everything a recipe trains and tests on.

    ``datasets`` and ``manifests`` are by split name; every item has ``id``,
    ``sig``, ``tokens``, ``wrd`` and ``labels`` (one class per attribute);
    ``spent`` is what making parts of the training data has cost, by name.
    """

    datasets: dict
    manifests: dict[str, Manifest]
    labels: AttributeLabels
    skipped: list[str]
    spent: dict[str, dict] = field(default_factory=dict)


def load_asr_data(
    manifests,
    tokenizer,
    attributes,
    save_folder,
    data_folder="",
    sample_rate=16000,
    frames_per_second=25.0,
):
    """Reads, checks and wires the manifests of an experiment.

    Arguments
    ---------
    manifests : dict
        Split -> CSV path. ``train`` must be there.
    tokenizer : Tokenizer
        Trained on the training transcripts here, unless ``save_folder``
        has its model already.
    attributes : list of str
        Columns that adversaries attack; their classes come from ``train``.
    save_folder : str or Path
        Where the tokenizer and the classes are kept.
    data_folder : str
        What ``$data_root`` stands for.
    sample_rate : int
        In Hz; audio at another rate is an error.
    frames_per_second : float
        Rate of the encoder's output. A training utterance without a
        transcript, or with fewer frames than CTC needs for its tokens, is
        skipped and reported. In
        another split nothing is left out, since that would change the
        metric: no transcript or less than one frame is an error there.

    Returns
    -------
    ASRData
    """
    need = {"train": ("wrd", *attributes)}
    read = {
        split: read_manifest(path, data_folder, need.get(split, ("wrd",)))
        for split, path in manifests.items()
    }
    if not attributes:
        raise ValueError("attributes is empty: name one column at least")
    train = read["train"]
    save_folder = Path(save_folder)
    model = save_folder / "tokenizer.model"
    run_on_main(
        remember,
        args=[
            save_folder / "data.json",
            {
                "train": train.fingerprint(),
                "tokens": [tokenizer.kind, tokenizer.vocab_size],
                "attributes": list(attributes),
            },
        ],
    )

    def learn():
        if not model.is_file():
            tokenizer.train([w for w in train.values("wrd") if w])
            tokenizer.save(model)

    run_on_main(learn)
    tokenizer.load(model)
    labels = AttributeLabels(attributes).learn(
        {name: train.values(name) for name in attributes}
    )
    run_on_main(labels.save, args=[save_folder / "labels.json"])
    skipped = []
    datasets = {}
    for split, manifest in read.items():
        kept = {}
        for row in manifest.rows:
            if split != "train" and row["duration"] * frames_per_second < 1:
                raise ManifestError(
                    f"{manifest.path}: utterance '{row['ID']}' lasts "
                    f"{row['duration']} s, less than one frame of the "
                    "encoder: take it out of the manifest"
                )
            fault = _unusable(row, tokenizer, frames_per_second)
            if split != "train" and not row["wrd"]:
                raise ManifestError(
                    f"{manifest.path}: utterance '{row['ID']}' has an empty "
                    "'wrd': error rates need every transcript"
                )
            if split == "train" and fault:
                skipped.append(row["ID"])
                logger.warning(f"skipped '{row['ID']}': it {fault}")
            else:
                kept[row["ID"]] = row
        if not kept:
            raise ManifestError(f"{manifest.path}: no usable utterance")
        datasets[split] = make_dataset(kept, tokenizer, labels, sample_rate)
    if skipped:
        logger.warning(f"{len(skipped)} training utterances skipped in all")
    return ASRData(datasets, read, labels, skipped)


def _unusable(row, tokenizer, frames_per_second):
    """Why CTC cannot learn from the row, or an empty string."""
    if not row["wrd"]:
        return "has no transcript"
    frames = int(row["duration"] * frames_per_second)
    tokens = tokenizer.encode(row["wrd"])
    repeats = sum(a == b for a, b in zip(tokens, tokens[1:]))
    needed = max(1, len(tokens) + repeats)
    if frames >= needed:
        return ""
    return (
        f"lasts {row['duration']:.3f} s, {frames} frames of the encoder; "
        f"its {len(tokens)} tokens need {needed}"
    )


def make_dataset(rows, tokenizer, labels, sample_rate):
    """Manifest rows by ID -> a dataset whose items a CTC Brain reads.

    Arguments
    ---------
    rows : dict
        Utterance ID -> manifest row.
    tokenizer : Tokenizer
    labels : AttributeLabels
    sample_rate : int

    Returns
    -------
    DynamicItemDataset
    """
    columns = sorted({key for row in rows.values() for key in row} - {"ID"})
    data = {
        key: {
            **{column: row.get(column, "") for column in columns},
            "labels": torch.tensor(labels.encode(row), dtype=torch.long),
            "tokens": torch.tensor(
                tokenizer.encode(row["wrd"]), dtype=torch.long
            ),
        }
        for key, row in rows.items()
    }

    dataset = DynamicItemDataset(data)
    dataset.add_dynamic_item(
        lambda wav, duration: read_utterance(wav, sample_rate, duration),
        takes=["wav", "duration"],
        provides="sig",
    )
    dataset.set_output_keys(["id", "sig", "tokens", "wrd", "labels"])
    return dataset
