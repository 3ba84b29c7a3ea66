"""LibriSpeech, or any part of it -> one manifest per part.

Reads the original layout ``PART/SPEAKER/CHAPTER/*.flac`` with ``SPEAKERS.TXT``
(which states the readers' sex) beside it. Parts without transcripts give
manifests for pre-training.

    python librispeech_prepare.py /path/to/LibriSpeech manifests
"""

import argparse
from pathlib import Path

import soundfile
from tqdm import tqdm

from speechbrain_privacy.dataio.identity import remember
from speechbrain_privacy.dataio.manifest import (
    DATA_ROOT,
    ManifestError,
    read_manifest,
    write_manifest,
)

COLUMNS = ("ID", "duration", "wav", "wrd", "spk_id", "gender")

PARTS = (
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
)


def prepare_librispeech(data_folder, manifest_folder, parts=None):
    """Writes ``PART.csv`` for every part.

    Arguments
    ---------
    data_folder : str
        The folder ``LibriSpeech`` of the distribution.
    manifest_folder : str
        Where the manifests go. Those that exist are kept.
    parts : list of str, optional
        Names of folders. Default: those of the corpus that are there.

    Returns
    -------
    dict
        Part -> path of its manifest.
    """
    data_folder, manifest_folder = Path(data_folder), Path(manifest_folder)
    if parts is None:
        parts = [part for part in PARTS if (data_folder / part).is_dir()]
    if not parts:
        raise ManifestError(
            f"{data_folder}: holds none of {', '.join(PARTS)}: it must be the "
            "folder LibriSpeech of the corpus"
        )
    targets = {part: manifest_folder / f"{part}.csv" for part in parts}
    sexes = None
    for part, target in targets.items():
        if not target.is_file():
            sexes = sexes or _read_speakers(data_folder / "SPEAKERS.TXT")
            write_manifest(target, _read_part(data_folder, part, sexes))
    return targets


def prepare_splits(data_folder, manifest_folder, **splits):
    """Writes one manifest per split, each of one or several parts.

    Arguments
    ---------
    data_folder : str
        The folder ``LibriSpeech`` of the distribution.
    manifest_folder : str
        Where the manifests go. Those that exist are kept.
    **splits
        Split -> names of parts, e.g. ``train=["train-clean-100"]``.
    """
    folder = Path(manifest_folder)
    remember(folder / "splits.json", splits)
    for split, parts in splits.items():
        target = folder / f"{split}.csv"
        if target.is_file():
            continue
        paths = prepare_librispeech(data_folder, folder / "parts", parts)
        # Paths stay below the corpus's folder, wherever that is.
        rows = [
            {name: row[name] for name in COLUMNS}
            for path in paths.values()
            for row in read_manifest(path, DATA_ROOT).rows
        ]
        write_manifest(target, rows)


def _read_speakers(path):
    """Reader -> ``F`` or ``M``, as the corpus states it."""
    if not path.is_file():
        raise ManifestError(f"{path} does not exist: it names the readers' sex")
    sexes = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if not line.startswith(";") and len(cells) > 2:
            sexes[cells[0]] = cells[1]
    return sexes


def _read_part(data_folder, part, sexes):
    texts, rows = {}, []
    for path in (data_folder / part).glob("*/*/*.trans.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, words = line.strip().partition(" ")
            texts[name] = words
    audio = sorted((data_folder / part).glob("*/*/*.flac"))
    for path in tqdm(audio, desc=part, leave=False):
        speaker = path.stem.split("-")[0]
        if speaker not in sexes:
            raise ManifestError(
                f"{path}: SPEAKERS.TXT does not list the reader '{speaker}'"
            )
        try:
            seconds = soundfile.info(path).duration
        except soundfile.LibsndfileError as fault:
            raise ManifestError(
                f"{path}: cannot be read as audio: {fault}"
            ) from None
        rows.append(
            {
                "ID": path.stem,
                "duration": f"{seconds:.4f}",
                "wav": f"{DATA_ROOT}/{path.relative_to(data_folder)}",
                "wrd": texts.get(path.stem, ""),
                "spk_id": speaker,
                "gender": sexes[speaker],
            }
        )
    if not rows:
        raise ManifestError(f"{data_folder / part}: holds no flac files")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_folder")
    parser.add_argument("manifest_folder")
    parser.add_argument("parts", nargs="*")
    given = parser.parse_args()
    for path in prepare_librispeech(
        given.data_folder, given.manifest_folder, given.parts or None
    ).values():
        print(path)
