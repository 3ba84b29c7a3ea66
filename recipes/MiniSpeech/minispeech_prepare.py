"""MiniSpeech -> manifests with speaker-disjoint splits.

The corpus is synthesised on first use. With its 64 speakers, half of them
female: 20 audit speakers (``test``), 4 validation speakers (``valid``), 40
training speakers; one utterance of each of the last is held out (``seen``).
"""

import csv
from pathlib import Path

from speechbrain.utils.logger import get_logger

from speechbrain_privacy.dataio.manifest import ManifestError, write_manifest
from speechbrain_privacy.dataio.minispeech import (
    Settings,
    default_folder,
    make_minispeech,
)

logger = get_logger(__name__)

SPLITS = ("train", "valid", "seen", "test")
N_AUDIT, N_VALIDATION = 20, 4


def prepare_minispeech(data_folder, manifest_folder, progressbar=True):
    """Makes the corpus if need be and writes its four manifests.

    Arguments
    ---------
    data_folder : str
        Where the corpus is, or will be made.
    manifest_folder : str
        Where the manifests go. Complete ones are kept.
    progressbar : bool
    """
    folder = Path(data_folder)
    if not (folder / "all.csv").is_file():
        if not folder.parent.is_dir() and folder != Path(default_folder()):
            raise ManifestError(
                f"data_folder: {folder.parent} does not exist, so that "
                "MiniSpeech cannot be made in it"
            )
        logger.info("there is no MiniSpeech in %s: making it", folder)
        make_minispeech(Settings(), folder, progressbar=progressbar)
    targets = {s: Path(manifest_folder) / f"{s}.csv" for s in SPLITS}
    if not all(target.is_file() for target in targets.values()):
        with open(folder / "all.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for split, some in split_speakers(rows).items():
            write_manifest(targets[split], some)


def split_speakers(rows):
    """Rows of the corpus -> rows of each split, by speaker."""
    speakers = list(dict.fromkeys(row["spk_id"] for row in rows))
    if len(speakers) < N_AUDIT + N_VALIDATION + 2:
        raise ManifestError(
            f"MiniSpeech has {len(speakers)} speakers here; the recipe needs "
            f"{N_AUDIT + N_VALIDATION + 2}: make it with more (--speakers)"
        )
    audit = set(speakers[:N_AUDIT])
    validation = set(speakers[N_AUDIT : N_AUDIT + N_VALIDATION])
    last = {row["spk_id"]: row["ID"] for row in rows}
    splits = {split: [] for split in SPLITS}
    for row in rows:
        if row["spk_id"] in audit:
            splits["test"].append(row)
        elif row["spk_id"] in validation:
            splits["valid"].append(row)
        elif row["ID"] == last[row["spk_id"]]:
            splits["seen"].append(row)
        else:
            splits["train"].append(row)
    return splits
