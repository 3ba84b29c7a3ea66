"""AN4 and, if it is there, read speech of many more people -> manifests.

Splits for pre-training and for what is asked of the encoder afterwards:

``train``  training speakers of AN4 and, with ``librispeech_folder``, every
           utterance of ``train-clean-100`` that is there
``valid``  as in ``an4_prepare``
``test``   as in ``an4_prepare``
``learn``  AN4's part of ``train``: what readers and attackers learn on
``probe``  utterances that ``alignments`` align: of AN4's official test
           speakers and of LibriSpeech's ``test-other``
"""

from pathlib import Path

from an4_prepare import prepare_an4
from librispeech_prepare import prepare_librispeech
from speechbrain.utils.logger import get_logger

from speechbrain_privacy.dataio.alignments import (
    alignment_paths,
    read_alignments,
)
from speechbrain_privacy.dataio.identity import remember
from speechbrain_privacy.dataio.manifest import (
    ManifestError,
    read_manifest,
    write_manifest,
)

logger = get_logger(__name__)

SPLITS = ("train", "valid", "test", "learn", "probe")
COLUMNS = ("ID", "duration", "wav", "wrd", "spk_id", "gender")
POOL, ALIGNED = "train-clean-100", "test-other"


def prepare_pool(
    data_folder, manifest_folder, librispeech_folder=None, alignments=None
):
    """Writes one manifest per split.

    Arguments
    ---------
    data_folder : str
        AN4, as ``prepare_an4`` takes it.
    manifest_folder : str
        Where the manifests go. Complete ones are kept.
    librispeech_folder : str, optional
        The folder ``LibriSpeech``, or a part of it.
    alignments : str or list of str, optional
        Phone alignments; without any there is no ``probe``.
    """
    folder = Path(manifest_folder)
    alignments = alignment_paths(alignments)
    splits = SPLITS if alignments else SPLITS[:-1]
    targets = {split: folder / f"{split}.csv" for split in splits}
    remember(
        folder / "pool.json",
        {
            "librispeech_folder": str(librispeech_folder or ""),
            "alignments": [str(path) for path in alignments],
        },
    )
    if all(target.is_file() for target in targets.values()):
        logger.info(f"the manifests are prepared already in {folder}")
        return
    prepare_an4(data_folder, folder / "an4")
    parts = {
        split: _rows(folder / f"an4/{split}.csv", data_folder)
        for split in ("train", "valid", "test")
    }
    parts["learn"] = parts["train"]
    others = []
    if librispeech_folder:
        paths = prepare_librispeech(librispeech_folder, folder / "librispeech")
        if POOL not in paths:
            raise ManifestError(f"{librispeech_folder}: has no {POOL}")
        parts["train"] = [
            *parts["train"],
            *_rows(paths[POOL], librispeech_folder),
        ]
        if ALIGNED in paths:
            others = _rows(paths[ALIGNED], librispeech_folder)
    if alignments:
        known = set()
        for path in alignments:
            known.update(read_alignments(path))
        candidates = [*parts["test"], *others]
        parts["probe"] = [row for row in candidates if row["ID"] in known]
        if not parts["probe"]:
            raise ManifestError(
                f"{', '.join(map(str, alignments))}: align no utterance of "
                "the test speakers"
            )
    for split, target in targets.items():
        write_manifest(target, parts[split])


def _rows(path, data_folder):
    """Rows of a manifest with absolute paths."""
    return [
        {name: row.get(name, "") for name in COLUMNS}
        for row in read_manifest(path, Path(data_folder).resolve()).rows
    ]
