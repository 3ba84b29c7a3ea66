"""Common Voice's layout -> manifests, and clips at 16 kHz."""

import csv
import sys

import numpy as np
import pytest
import soundfile

from speechbrain_privacy.dataio.manifest import ManifestError, read_manifest
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "recipes/CommonVoice"))

from common_voice_prepare import (  # noqa: E402
    normalised,
    prepare_common_voice,
)

COLUMNS = ("client_id", "path", "sentence", "age", "gender", "accents")
LINES = {
    "train": [
        (
            "a",
            "cv_1.mp3",
            'Er zei: "Hé, da\'s mooi!"',
            "",
            "male_masculine",
            "",
        ),
        ("a", "cv_2.mp3", "L’été.", "twenties", "male", "Brest"),
        ("b", "cv_3.mp3", "Привет, мир", "", "female_feminine", ""),
    ],
    "dev": [("c", "cv_4.mp3", "twee", "", "female", "")],
    "test": [("d", "cv_5.mp3", "drie", "", "do_not_wish_to_say", "")],
}


@pytest.fixture
def common_voice(tmp_path):
    folder = tmp_path / "nl"
    (folder / "clips").mkdir(parents=True)
    tone = np.sin(np.arange(22050) * 2 * np.pi * 440 / 44100)
    for split, lines in LINES.items():
        with open(folder / f"{split}.tsv", "w", newline="") as file:
            writer = csv.writer(
                file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None
            )
            writer.writerow(COLUMNS)
            writer.writerows(lines)
        for line in lines:
            soundfile.write(
                folder / "clips" / line[1], 0.5 * tone, 44100, format="MP3"
            )
    return folder


def test_clips_become_16_kHz_and_tables_manifests(common_voice, tmp_path):
    prepare_common_voice(common_voice, tmp_path / "m")
    rows = read_manifest(tmp_path / "m/train.csv").rows
    assert [row["ID"] for row in rows] == ["cv_1", "cv_2", "cv_3"]
    assert [row["wrd"] for row in rows] == [
        "ER ZEI HÉ DA'S MOOI",
        "L'ÉTÉ",
        "ПРИВЕТ МИР",
    ]
    assert [row["gender"] for row in rows] == ["M", "M", "F"]
    assert (rows[1]["age"], rows[1]["accent"]) == ("twenties", "Brest")
    (row,) = read_manifest(tmp_path / "m/test.csv").rows
    assert (row["gender"], row["spk_id"]) == ("", "d")
    sound, rate = soundfile.read(rows[0]["wav"])
    assert rate == 16000 and len(sound) == pytest.approx(8000, abs=900)
    assert float(rows[0]["duration"]) == pytest.approx(len(sound) / rate)
    # It is the same tone: resampled, not played more slowly.
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * rate / len(sound) == pytest.approx(440, abs=5)


def test_what_is_converted_is_kept_and_shared(common_voice, tmp_path):
    audio = tmp_path / "audio"
    prepare_common_voice(common_voice, tmp_path / "a", audio)
    before = {p: p.stat().st_mtime_ns for p in audio.iterdir()}
    assert len(before) == 5
    for clip in (common_voice / "clips").iterdir():
        clip.unlink()
    prepare_common_voice(common_voice, tmp_path / "b", audio)
    assert {p: p.stat().st_mtime_ns for p in audio.iterdir()} == before
    assert (tmp_path / "a/train.csv").read_text() == (
        tmp_path / "b/train.csv"
    ).read_text()


def test_clips_that_cannot_be_read_are_named_and_left_out(
    common_voice, tmp_path, caplog
):
    (common_voice / "clips/cv_2.mp3").write_bytes(b"no audio at all")
    (common_voice / "clips/cv_3.mp3").unlink()
    prepare_common_voice(common_voice, tmp_path / "m")
    rows = read_manifest(tmp_path / "m/train.csv").rows
    assert [row["ID"] for row in rows] == ["cv_1"]
    assert "cv_2.mp3" in caplog.text and "cv_3.mp3" in caplog.text
    assert "2 of 3 clips left out" in caplog.text


def test_a_clip_in_which_nothing_is_said_is_left_out(
    common_voice, tmp_path, caplog
):
    with open(common_voice / "dev.tsv", "a") as file:
        file.write("e\tcv_1.mp3\t?!\t\t\t\n")
    prepare_common_voice(common_voice, tmp_path / "m")
    assert len(read_manifest(tmp_path / "m/valid.csv").rows) == 1
    assert "nothing is said" in caplog.text


def test_a_part_of_a_split(common_voice, tmp_path):
    folder = tmp_path / "m"
    prepare_common_voice(common_voice, folder, most_utterances={"train": 1})
    assert len(read_manifest(folder / "train.csv").rows) == 1
    with pytest.raises(ValueError, match="most_utterances"):
        prepare_common_voice(common_voice, folder)


def test_another_locale_in_the_same_folder_is_refused(common_voice, tmp_path):
    prepare_common_voice(common_voice, tmp_path / "m")
    with open(common_voice / "dev.tsv", "a") as file:
        file.write("e\tcv_4.mp3\tvier\t\t\t\n")
    with pytest.raises(ValueError, match="release"):
        prepare_common_voice(common_voice, tmp_path / "m")


def test_a_full_disk_stops_it_before_a_manifest_is_written(
    common_voice, tmp_path, monkeypatch
):
    def full(path, *_):
        if "cv_5" in str(path):
            raise OSError(28, "No space left on device")
        return write(path, *_)

    write = soundfile.write
    monkeypatch.setattr(soundfile, "write", full)
    with pytest.raises(OSError, match="No space"):
        prepare_common_voice(common_voice, tmp_path / "m")
    assert not (tmp_path / "m/test.csv").exists()
    monkeypatch.undo()
    prepare_common_voice(common_voice, tmp_path / "m")
    assert len(read_manifest(tmp_path / "m/test.csv").rows) == 1


def test_what_is_no_release_is_named(common_voice, tmp_path):
    with pytest.raises(ManifestError, match="train.tsv does not exist"):
        prepare_common_voice(tmp_path, tmp_path / "m")
    (common_voice / "dev.tsv").write_text("client_id\tpath\nc\tx.mp3\n")
    with pytest.raises(ManifestError, match="dev.tsv: row 1: .*'sentence'"):
        prepare_common_voice(common_voice, tmp_path / "m")


def test_words_keep_their_letters_and_lose_the_rest():
    assert normalised("«Où'sch», 'n huis—3x… ") == "OÙ'SCH N HUIS 3X"
    assert normalised("हिन्दी में।") == "हिन्दी में"
    assert normalised("col·laborar · ·") == "COL·LABORAR"
    # What joins letters, or keeps them apart, is no space.
    assert normalised("می\u200cخواهم") == "میخواهم"
    assert normalised("ශ\u0dca\u200dරී") == "ශ\u0dcaරී"
    assert normalised("!?") == ""
