"""LibriSpeech's layout -> manifests."""

import sys

import numpy as np
import pytest
import soundfile

from speechbrain_privacy.dataio.manifest import ManifestError, read_manifest
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "recipes/LibriSpeech"))

from librispeech_prepare import prepare_librispeech  # noqa: E402

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
