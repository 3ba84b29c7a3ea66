import shutil
import sys

import numpy as np
import pytest
import soundfile

from speechbrain_privacy.dataio.manifest import ManifestError, read_manifest
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "recipes/AN4"))
from an4_prepare import prepare_an4  # noqa: E402


def write_an4(folder, n_female=8, n_male=10, suffix="sph"):
    """A corpus in AN4's layout: NIST sphere audio of 0.1 s."""
    (folder / "etc").mkdir(parents=True)
    speakers = [f"f{i:03d}" for i in range(n_female)]
    speakers += [f"m{i:03d}" for i in range(n_male)]
    parts = {"train": speakers, "test": ["fzzz", "mzzz"]}
    for part, names in parts.items():
        place = "an4_clstk" if part == "train" else "an4test_clstk"
        ids, texts = [], []
        for name in names:
            (folder / "wav" / place / name).mkdir(parents=True)
            for k in range(3):
                utterance = f"an{k}-{name}-b"
                ids.append(f"{place}/{name}/{utterance}")
                texts.append(f"<s> GO {k} </s> ({utterance})")
                soundfile.write(
                    folder / "wav" / f"{ids[-1]}.{suffix}",
                    np.zeros(1600),
                    16000,
                    format="NIST" if suffix == "sph" else None,
                )
        (folder / "etc" / f"an4_{part}.fileids").write_text("\n".join(ids))
        (folder / "etc" / f"an4_{part}.transcription").write_text(
            "\n".join(texts) + "\n"
        )
    return folder


def prepared(corpus, output, **settings):
    prepare_an4(corpus, output, **settings)
    return {
        split: read_manifest(output / f"{split}.csv", corpus)
        for split in ("train", "valid", "seen", "test")
    }


@pytest.mark.parametrize("suffix", ["sph", "flac"])
def test_splits_share_no_speaker_and_lose_no_utterance(tmp_path, suffix):
    corpus = write_an4(tmp_path / "an4", suffix=suffix)
    found = prepared(corpus, tmp_path / "out")
    who = {split: m.known("spk_id") for split, m in found.items()}
    assert not who["train"] & who["valid"]
    assert not who["train"] & who["test"]
    assert not who["valid"] & who["test"]
    assert who["seen"] == who["train"]
    ids = [row["ID"] for m in found.values() for row in m.rows]
    assert len(ids) == len(set(ids)) == 3 * 20
    assert {"fzzz", "mzzz"} <= who["test"]
    assert sum(name[0] == "f" for name in who["test"]) == 6
    assert sum(name[0] == "m" for name in who["test"]) == 6
    row = found["train"].rows[0]
    assert row["wrd"].startswith("GO ")
    assert row["gender"] == row["spk_id"][0].upper()
    assert row["duration"] == pytest.approx(0.1)


def test_splits_follow_from_the_seed(tmp_path):
    corpus = write_an4(tmp_path / "an4")
    a, b, c = (
        prepared(corpus, tmp_path / name, seed=seed)["test"].known("spk_id")
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert a == b != c


def test_complete_manifests_are_kept(tmp_path):
    corpus = write_an4(tmp_path / "an4")
    prepared(corpus, tmp_path / "out")
    shutil.rmtree(corpus)
    prepare_an4(corpus, tmp_path / "out")


def spoil(corpus, what):
    etc = corpus / "etc"
    if what == "folder":
        shutil.rmtree(etc)
    elif what == "transcript":
        (etc / "an4_train.transcription").write_text("GO (an0-f000-b)\n")
    elif what == "audio":
        next((corpus / "wav").rglob("*.sph")).unlink()
    elif what == "unreadable":
        next((corpus / "wav").rglob("*.sph")).write_bytes(b"no audio")


@pytest.mark.parametrize(
    "what, message",
    [
        ("folder", "--data_folder must be the AN4 folder"),
        ("transcript", "no transcript of"),
        ("audio", "no audio file"),
        ("unreadable", "cannot be read as audio"),
    ],
)
def test_a_broken_corpus_is_named_and_nothing_is_written(
    tmp_path, what, message
):
    corpus = write_an4(tmp_path / "an4")
    spoil(corpus, what)
    with pytest.raises(ManifestError, match=message):
        prepare_an4(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_speakers_are_named(tmp_path):
    corpus = write_an4(tmp_path / "an4", n_female=4)
    with pytest.raises(ManifestError, match="4 speakers of gender F"):
        prepare_an4(corpus, tmp_path / "out")


def test_the_real_corpus(corpora, tmp_path):
    found = prepared(corpora / "an4", tmp_path)
    assert sum(len(m.rows) for m in found.values()) == 948 + 130
    assert len(found["test"].known("spk_id")) == 20
    assert len(found["train"].known("spk_id")) == 58
    assert len(found["valid"].known("spk_id")) == 6
    assert len(found["seen"].rows) == 58
    genders = {
        row["spk_id"]: row["gender"] for row in found["test"].rows
    }.values()
    assert sorted(genders).count("F") == 8
