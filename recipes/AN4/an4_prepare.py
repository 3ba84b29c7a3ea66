"""CMU AN4 (Census) -> manifests with speaker-disjoint splits.

The corpus: 74 training and 10 test speakers who spell personal data and
read commands, 16 kHz, about 50 minutes. The first letter of a speaker's id
is the corpus's own gender label (``f`` or ``m``).

Splits (every choice follows from ``seed`` alone):

``test``   audit speakers: the 10 official test speakers and 10 more held
           out of training (5 F, 5 M, as balanced as the corpus allows)
``valid``  6 further training speakers (2 F, 4 M)
``seen``   one held-out utterance of every remaining training speaker
``train``  everything else
"""

import random
from pathlib import Path

import soundfile
from speechbrain.utils.logger import get_logger

from speechbrain_privacy.dataio.manifest import (
    DATA_ROOT,
    ManifestError,
    write_manifest,
)

logger = get_logger(__name__)

SPLITS = ("train", "valid", "seen", "test")
AUDIO_SUFFIXES = (".sph", ".flac", ".wav")
HELD_OUT = {"F": 5, "M": 5}
VALIDATION = {"F": 2, "M": 4}


def prepare_an4(data_folder, manifest_folder, seed=1234):
    """Writes ``train.csv``, ``valid.csv``, ``seen.csv`` and ``test.csv``.

    Arguments
    ---------
    data_folder : str
        The corpus: ``etc/`` and ``wav/`` in the original layout, audio as
        NIST sphere, flac or wav.
    manifest_folder : str
        Where the manifests go. Complete ones are kept.
    seed : int
        Chooses the held-out speakers and utterances.
    """
    data_folder, manifest_folder = Path(data_folder), Path(manifest_folder)
    targets = {split: manifest_folder / f"{split}.csv" for split in SPLITS}
    if all(target.is_file() for target in targets.values()):
        logger.info(f"AN4 is prepared already in {manifest_folder}")
        return
    official = {
        part: _read_part(data_folder, part) for part in ("train", "test")
    }
    for split, rows in split_speakers(**official, seed=seed).items():
        write_manifest(targets[split], rows)


def split_speakers(train, test, seed):
    """Official training and test rows -> rows of the four splits."""
    draw = random.Random(seed)
    by_gender = {
        gender: sorted(
            {row["spk_id"] for row in train if row["gender"] == gender}
        )
        for gender in ("F", "M")
    }
    held_out, validation = set(), set()
    for gender, speakers in by_gender.items():
        n_out, n_valid = HELD_OUT[gender], VALIDATION[gender]
        if len(speakers) < n_out + n_valid + 1:
            raise ManifestError(
                f"AN4 training data have {len(speakers)} speakers of gender "
                f"{gender}; {n_out + n_valid + 1} are needed: is the corpus "
                "complete?"
            )
        draw.shuffle(speakers)
        held_out.update(speakers[:n_out])
        validation.update(speakers[n_out : n_out + n_valid])
    splits = {split: [] for split in SPLITS}
    splits["test"] += test
    seen = {}
    for row in train:
        speaker = row["spk_id"]
        if speaker in held_out:
            splits["test"].append(row)
        elif speaker in validation:
            splits["valid"].append(row)
        else:
            seen.setdefault(speaker, []).append(row)
    for _, rows in sorted(seen.items()):
        kept_back = draw.randrange(len(rows)) if len(rows) > 1 else None
        for i, row in enumerate(rows):
            splits["seen" if i == kept_back else "train"].append(row)
    return splits


def _read_part(data_folder, part):
    """Rows of the official ``train`` or ``test`` part."""
    fileids = data_folder / "etc" / f"an4_{part}.fileids"
    transcription = data_folder / "etc" / f"an4_{part}.transcription"
    for path in (fileids, transcription):
        if not path.is_file():
            raise ManifestError(
                f"{path} does not exist: --data_folder must be the AN4 "
                "folder with etc/ and wav/ in it"
            )
    texts = {}
    for line in transcription.read_text().splitlines():
        words, _, utterance = line.strip().rpartition(" (")
        texts[utterance.rstrip(")")] = " ".join(
            word for word in words.split() if word not in ("<s>", "</s>")
        )
    rows = []
    for line in fileids.read_text().split():
        utterance, speaker = Path(line).name, Path(line).parent.name
        if utterance not in texts:
            raise ManifestError(
                f"{transcription}: no transcript of '{utterance}', which "
                f"{fileids.name} lists"
            )
        audio = _audio_file(data_folder / "wav" / line)
        rows.append(
            {
                "ID": utterance,
                "duration": f"{_duration(audio):.4f}",
                "wav": f"{DATA_ROOT}/{audio.relative_to(data_folder)}",
                "wrd": texts[utterance],
                "spk_id": speaker,
                "gender": speaker[0].upper(),
            }
        )
    return rows


def _duration(audio):
    try:
        return soundfile.info(audio).duration
    except soundfile.LibsndfileError as fault:
        raise ManifestError(
            f"{audio}: cannot be read as audio: {fault}"
        ) from None


def _audio_file(stem):
    for suffix in AUDIO_SUFFIXES:
        path = stem.parent / (stem.name + suffix)
        if path.is_file():
            return path
    raise ManifestError(
        f"{stem}: no audio file with suffix {', '.join(AUDIO_SUFFIXES)}"
    )
