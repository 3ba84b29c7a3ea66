"""Mozilla Common Voice, any locale -> manifests, with audio at 16 kHz.

Reads a release as it is unpacked: ``train.tsv``, ``dev.tsv``, ``test.tsv`` and
``clips/`` in the folder of the locale. The three share no speaker
(``client_id``). Clips are MP3 at other rates: they are converted once, to
``AUDIO_FOLDER/NAME.flac``.

``gender`` is F or M where the speaker has said so, and empty otherwise;
``age`` and ``accent`` are what the corpus states, and may be empty.

    python common_voice_prepare.py /path/to/cv-corpus-x/LOCALE manifests
"""

import argparse
import csv
import hashlib
import os
import unicodedata
from multiprocessing.pool import ThreadPool
from pathlib import Path

import soundfile
import torch
import torchaudio
from speechbrain.dataio import audio_io
from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from speechbrain_privacy.dataio.audio import AudioError
from speechbrain_privacy.dataio.identity import remember
from speechbrain_privacy.dataio.manifest import ManifestError, write_manifest

logger = get_logger(__name__)

SPLITS = {"train": "train", "valid": "dev", "test": "test"}
RATE = 16000
NEEDED = ("client_id", "path", "sentence")
GENDERS = {
    "female": "F",
    "female_feminine": "F",
    "male": "M",
    "male_masculine": "M",
}
#: What may stand within a word: l'été, col·laborar.
INSIDE = "'·"
#: What stands for an apostrophe within a word.
APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "`": "'", "´": "'"})


def prepare_common_voice(
    data_folder,
    manifest_folder,
    audio_folder=None,
    most_utterances=None,
    threads=2,
):
    """Writes ``train.csv``, ``valid.csv`` and ``test.csv``.

    Arguments
    ---------
    data_folder : str
        Of one locale, with its ``.tsv`` files and ``clips/``.
    manifest_folder : str
        Where the manifests go. Complete ones are kept.
    audio_folder : str, optional
        Where converted clips go; those that are there are kept. Default:
        ``clips_16000`` beside the manifests.
    most_utterances : dict, optional
        Split -> how many of it, from its beginning.
    threads : int
        That convert.
    """
    data_folder, folder = Path(data_folder), Path(manifest_folder)
    audio_folder = Path(audio_folder or folder / f"clips_{RATE}")
    most = dict(most_utterances or {})
    tables = {s: data_folder / f"{name}.tsv" for s, name in SPLITS.items()}
    remember(
        folder / "common_voice.json",
        {
            "most_utterances": most,
            "release": {split: _hash(path) for split, path in tables.items()},
        },
    )
    targets = {split: folder / f"{split}.csv" for split in SPLITS}
    if all(target.is_file() for target in targets.values()):
        logger.info(f"Common Voice is prepared already in {folder}")
        return
    read = {
        split: _read_tsv(path)[: most.get(split)]
        for split, path in tables.items()
    }
    for split, target in targets.items():
        rows = _rows(read[split], data_folder / "clips", audio_folder, threads)
        if not rows:
            raise ManifestError(
                f"{data_folder}: no clip of '{split}' can be read"
            )
        write_manifest(target, rows)


def normalised(sentence):
    """Letters of any script in capitals, apostrophes within words, spaces.

    Capitals are Unicode's, in every language: Turkish i and ı become one.

    Arguments
    ---------
    sentence : str

    Returns
    -------
    str

    Example
    -------
    >>> normalised("C’est l'été – déjà !")
    "C'EST L'ÉTÉ DÉJÀ"
    """
    text = unicodedata.normalize("NFC", sentence).translate(APOSTROPHES)
    # Joiners and the like are no spaces.
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    # Letters, the marks that belong to them, and digits where they are left.
    kept = [
        c if c in INSIDE or unicodedata.category(c)[0] in "LMN" else " "
        for c in text
    ]
    words = "".join(kept).upper().split()
    return " ".join(filter(None, (word.strip(INSIDE) for word in words)))


def _hash(path):
    """Of a table: which release, and which locale."""
    if not path.is_file():
        raise ManifestError(
            f"{path} does not exist: data_folder is that of a locale, with "
            "train.tsv in it"
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _read_tsv(path):
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        for column in NEEDED:
            if column not in (reader.fieldnames or ()):
                raise ManifestError(f"{path}: row 1: no column '{column}'")
        lines, seen = [], set()
        for number, line in enumerate(reader, start=2):
            if line["path"] in seen:
                raise ManifestError(
                    f"{path}: row {number}: clip '{line['path']}' stands in "
                    "an earlier row already"
                )
            seen.add(line["path"])
            lines.append(line)
        return lines


def _rows(lines, clips, audio_folder, threads):
    """Lines of a table -> rows of a manifest, of what can be read."""

    def row(line):
        name = Path(line["path"]).stem
        target = audio_folder / f"{name}.flac"
        words = normalised(line["sentence"])
        if not words:
            return f"{clips / line['path']}: nothing is said: no letters"
        try:
            duration = _convert(clips / line["path"], target)
        except AudioError as fault:
            return str(fault)
        return {
            "ID": name,
            "duration": f"{duration:.4f}",
            "wav": str(target.resolve()),
            "wrd": words,
            "spk_id": line["client_id"],
            "gender": GENDERS.get((line.get("gender") or "").lower(), ""),
            "age": line.get("age") or "",
            "accent": line.get("accents") or line.get("accent") or "",
        }

    audio_folder.mkdir(parents=True, exist_ok=True)
    with ThreadPool(threads) as pool:
        found = list(
            tqdm(pool.imap(row, lines), total=len(lines), desc="converting")
        )
    faults = [some for some in found if isinstance(some, str)]
    for fault in faults:
        logger.warning(f"left out: {fault}")
    if faults:
        logger.warning(f"{len(faults)} of {len(lines)} clips left out in all")
    return [some for some in found if isinstance(some, dict)]


def _convert(source, target):
    """Writes a clip at 16 kHz, if it is not there; returns its seconds."""
    if target.is_file():
        return soundfile.info(target).duration
    # What cannot be read is left out; what cannot be written stops it all.
    try:
        wav, rate = audio_io.load(str(source))
    except (OSError, RuntimeError, ValueError) as fault:
        raise AudioError(f"{source}: {fault}") from None
    wav = wav.mean(0, keepdim=True)
    if wav.shape[1] == 0:
        raise AudioError(f"{source}: holds no samples")
    wav = torchaudio.functional.resample(wav, rate, RATE).clamp(-1, 1)
    partial = target.with_suffix(f".{os.getpid()}.part.flac")
    soundfile.write(partial, wav[0].to(torch.float32).numpy(), RATE)
    partial.replace(target)
    return wav.shape[1] / RATE


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_folder")
    parser.add_argument("manifest_folder")
    parser.add_argument("--audio_folder")
    given = parser.parse_args()
    prepare_common_voice(**vars(given))
