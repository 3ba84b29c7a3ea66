"""LibriSpeech's layout -> manifests."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechbrain_privacy.dataio.manifest import ManifestError, read_manifest
from tests.conftest import ROOT
from tests.unit.test_an4_prepare import write_an4

sys.path.insert(0, str(ROOT / "recipes/LibriSpeech"))

from librispeech_prepare import (  # noqa: E402
    prepare_librispeech,
    prepare_splits,
)
from pool_prepare import prepare_pool  # noqa: E402

SPEAKERS = """\
;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | train-clean-100  | 25.03 | Kristin LeMoine
367  | M | test-other       | 8.0   | Vinnie Tesla
"""


@pytest.fixture
def librispeech(tmp_path):
    folder = tmp_path / "LibriSpeech"
    for part, name in (
        ("train-clean-100", "14-208-0000"),
        ("test-other", "367-130732-0000"),
        ("test-other", "367-130732-0001"),
    ):
        speaker, chapter, _ = name.split("-")
        path = folder / part / speaker / chapter
        path.mkdir(parents=True, exist_ok=True)
        soundfile.write(path / f"{name}.flac", np.zeros(8000), 16000)
    (path / "367-130732.trans.txt").write_text(
        "367-130732-0000 LOBSTERS AND LOBSTERS\n"
    )
    (folder / "SPEAKERS.TXT").write_text(SPEAKERS)
    return folder


def test_manifests_of_all_parts(librispeech, tmp_path):
    targets = prepare_librispeech(librispeech, tmp_path / "m")
    assert set(targets) == {"train-clean-100", "test-other"}
    rows = read_manifest(targets["test-other"], librispeech).rows
    assert [row["ID"] for row in rows] == ["367-130732-0000", "367-130732-0001"]
    assert rows[0]["wrd"] == "LOBSTERS AND LOBSTERS"
    assert rows[1]["wrd"] == ""
    assert (rows[0]["spk_id"], rows[0]["gender"]) == ("367", "M")
    assert rows[0]["duration"] == 0.5
    assert rows[0]["wav"].startswith(str(librispeech))
    # What is there is kept.
    (librispeech / "SPEAKERS.TXT").unlink()
    assert prepare_librispeech(librispeech, tmp_path / "m") == targets


def test_faults_are_named(librispeech, tmp_path):
    with pytest.raises(ManifestError, match="holds none of"):
        prepare_librispeech(tmp_path / "nowhere", tmp_path / "m")
    with pytest.raises(ManifestError, match="holds no flac files"):
        prepare_librispeech(librispeech, tmp_path / "m", ["dev-clean"])
    (librispeech / "SPEAKERS.TXT").write_text("14 | F | x | 1 | y\n")
    with pytest.raises(ManifestError, match="does not list the reader '367'"):
        prepare_librispeech(librispeech, tmp_path / "m", ["test-other"])
    (librispeech / "SPEAKERS.TXT").unlink()
    with pytest.raises(ManifestError, match="SPEAKERS.TXT does not exist"):
        prepare_librispeech(librispeech, tmp_path / "m", ["test-other"])
    (librispeech / "SPEAKERS.TXT").write_text(SPEAKERS)
    broken = librispeech / "test-other/367/130732/367-130732-0001.flac"
    broken.write_bytes(b"no audio")
    with pytest.raises(ManifestError, match="0001.flac: cannot be read"):
        prepare_librispeech(librispeech, tmp_path / "m", ["test-other"])
    assert not (tmp_path / "m/test-other.csv").exists()


def test_splits_of_several_parts_stay_below_the_corpus(librispeech, tmp_path):
    prepare_splits(
        librispeech,
        tmp_path / "m",
        train=["train-clean-100", "test-other"],
        test=["test-other"],
    )
    rows = read_manifest(tmp_path / "m/train.csv", "/elsewhere").rows
    assert [row["spk_id"] for row in rows] == ["14", "367", "367"]
    assert rows[0]["wav"].startswith("/elsewhere/train-clean-100/14/")
    assert len(read_manifest(tmp_path / "m/test.csv", librispeech).rows) == 2


def test_a_pool_of_two_corpora(librispeech, tmp_path):
    corpus = write_an4(tmp_path / "an4")
    aligned = tmp_path / "a.csv"
    names = ("an0-fzzz-b", "an1-f000-b", "367-130732-0001", "nobody")
    aligned.write_text(
        "utt_id,start,end,phone\n"
        + "".join(f"{name},0,0.1,x\n" for name in names)
    )
    prepare_pool(corpus, tmp_path / "m", librispeech, [aligned])
    found = {
        split: read_manifest(tmp_path / f"m/{split}.csv", "/nowhere")
        for split in ("train", "valid", "test", "learn", "probe")
    }
    who = {split: some.known("spk_id") for split, some in found.items()}
    assert who["train"] == who["learn"] | {"14"}
    assert not who["train"] & (who["valid"] | who["test"] | who["probe"])
    # Of the aligned ones, those of test speakers.
    probed = {row["ID"] for row in found["probe"].rows}
    expected = {"an0-fzzz-b", "367-130732-0001"}
    assert probed - {"an1-f000-b"} == expected
    for some in found.values():
        assert all(Path(row["wav"]).is_file() for row in some.rows)
    with pytest.raises(ManifestError, match="has no train-clean-100"):
        shutil.rmtree(librispeech / "train-clean-100")
        prepare_pool(corpus, tmp_path / "n", librispeech)
    with pytest.raises(ValueError, match="other 'librispeech_folder'"):
        prepare_pool(corpus, tmp_path / "m", None, [aligned])
    prepare_pool(corpus, tmp_path / "o")
    assert not (tmp_path / "o/probe.csv").exists()
    aligned.write_text("utt_id,start,end,phone\nnobody,0,0.1,x\n")
    with pytest.raises(ManifestError, match="align no utterance"):
        prepare_pool(corpus, tmp_path / "p", None, [aligned])
