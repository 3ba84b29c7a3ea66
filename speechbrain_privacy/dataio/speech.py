"""From manifests to SpeechBrain datasets of speech without transcripts."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.distributed import run_on_main

from speechbrain_privacy.dataio.audio import read_utterance
from speechbrain_privacy.dataio.identity import remember
from speechbrain_privacy.dataio.labels import AttributeLabels
from speechbrain_privacy.dataio.manifest import Manifest, read_manifest


@dataclass
class SpeechData:
    """``datasets`` and ``manifests`` by split name; every item has ``id``,
    ``sig`` and, where there are attributes, ``labels`` (one class each).
    ``spent``: what making parts of the training data has cost, by name."""

    datasets: dict
    manifests: dict[str, Manifest]
    labels: AttributeLabels
    spent: dict[str, dict] = field(default_factory=dict)


#: Splits where frames are hidden.
MASKED = ("train", "valid", "test")
#: Frames a second of boundaries, as ``masking`` counts them.
FRAME_RATE = 100


def load_speech_data(
    manifests,
    attributes,
    save_folder,
    data_folder="",
    sample_rate=16000,
    begins=None,
):
    """Reads, checks and wires the manifests of a pre-training.

    Arguments
    ---------
    manifests : dict
        Split -> CSV path. ``train`` must be there.
    attributes : list of str
        Columns that adversaries attack; their classes come from ``train``.
    save_folder : str or Path
        Where the classes are kept.
    data_folder : str
        What ``$data_root`` stands for.
    sample_rate : int
        In Hz; audio at another rate is an error.
    begins : callable, optional
        Manifest -> ``{ID: frames}`` where phones begin (``masking.store``),
        asked of the splits where frames are hidden: train, valid and test.
        If it has a method ``spent``, it is asked what those of train cost.

    Returns
    -------
    SpeechData
    """
    read = {
        split: read_manifest(
            path, data_folder, attributes if split == "train" else ()
        )
        for split, path in manifests.items()
    }
    train = read["train"]
    save_folder = Path(save_folder)
    identity = {
        "train": train.fingerprint(),
        "attributes": list(attributes),
    }
    run_on_main(remember, args=[save_folder / "data.json", identity])
    labels = AttributeLabels(attributes).learn(
        {name: train.values(name) for name in attributes}
    )
    run_on_main(labels.save, args=[save_folder / "labels.json"])
    datasets = {
        split: make_speech_dataset(
            manifest.rows,
            labels,
            sample_rate,
            begins(manifest) if begins and split in MASKED else None,
        )
        for split, manifest in read.items()
    }
    data = SpeechData(datasets, read, labels)
    if hasattr(begins, "spent"):
        data.spent["boundaries"] = begins.spent(train)
    return data


def make_speech_dataset(rows, labels, sample_rate, begins=None):
    """Manifest rows -> a dataset whose items a pre-training Brain reads.

    Arguments
    ---------
    rows : iterable of dict
    labels : AttributeLabels
    sample_rate : int
    begins : dict, optional
        ID -> frames where phones begin: adds ``begins``, boolean ``[frames]``.

    Returns
    -------
    DynamicItemDataset
    """
    dataset = DynamicItemDataset(
        {
            row["ID"]: {
                "wav": row["wav"],
                "duration": row["duration"],
                "labels": torch.tensor(labels.encode(row), dtype=torch.long),
            }
            for row in rows
        }
    )
    dataset.add_dynamic_item(
        lambda wav, duration: read_utterance(wav, sample_rate, duration),
        takes=["wav", "duration"],
        provides="sig",
    )
    keys = ["id", "sig"]
    if labels.attributes:  # SpeechBrain pads no empty tensors
        keys.append("labels")
    if begins is not None:
        keys.append("begins")

        def mark(key, signal):
            n_frames = len(signal) * FRAME_RATE // sample_rate + 1
            marks = torch.zeros(n_frames, dtype=torch.bool)
            marks[begins[key][begins[key] < n_frames]] = True
            return marks

        dataset.add_dynamic_item(mark, takes=["id", "sig"], provides="begins")
    dataset.set_output_keys(keys)
    return dataset


def with_codes(dataset, codes):
    """Adds the targets that frames have, in place.

    Arguments
    ---------
    dataset : DynamicItemDataset
    codes : dict
        ID -> int64 ``[frames]``. In a batch they are ``codes`` plus one: zero
        is what is padded.
    """
    dataset.add_dynamic_item(
        lambda key: torch.from_numpy(codes[key]) + 1,
        takes="id",
        provides="codes",
    )
    dataset.set_output_keys([*dataset.pipeline.output_mapping, "codes"])
