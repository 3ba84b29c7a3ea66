import pytest

from speechbrain_privacy.dataio.files import replaced_file
from speechbrain_privacy.dataio.manifest import (
    ManifestError,
    read_manifest,
    write_manifest,
)

HEADER = "ID,duration,wav,wrd,spk_id,gender\n"


def manifest(folder, text):
    path = folder / "m.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "row 1: column 'ID' is missing"),
        ("ID,duration\nu,1\n", "row 1: column 'wav' is missing"),
        (HEADER, "no utterances"),
        (HEADER + "u,1,a.wav,HI,s\n", "row 2: 6 columns in the header"),
        (HEADER + "u,1,a.wav,HI,s,F,x\n", "row 2: 6 columns in the header"),
        (HEADER + ",1,a.wav,HI,s,F\n", "row 2: column 'ID' is empty"),
        (HEADER + "u,1,,HI,s,F\n", "row 2: column 'wav' is empty"),
        (HEADER + "u,one,a.wav,HI,s,F\n", "'one' is not a number"),
        (HEADER + "u,0,a.wav,HI,s,F\n", "0.0 is not a positive"),
        (HEADER + "u,nan,a.wav,HI,s,F\n", "nan is not a positive"),
        (
            HEADER + "u,1,a.wav,HI,s,F\nu,1,b.wav,HI,s,F\n",
            "row 3: column 'ID': 'u' stands in row 2",
        ),
        (HEADER + "u,1,$data_root/a.wav,HI,s,F\n", "give --data_folder"),
        ("ID,duration,wav,wav\nu,1,a,b\n", "occurs twice"),
    ],
)
def test_each_fault_names_file_row_and_column(tmp_path, text, message):
    path = manifest(tmp_path, text)
    with pytest.raises(ManifestError) as fault:
        read_manifest(path)
    assert str(path) in str(fault.value)
    assert message in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        read_manifest(tmp_path / "none.csv")


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"ID,duration,wav\n\xff\xfe,1,a\n")
    with pytest.raises(ManifestError, match="UTF-8"):
        read_manifest(path)


def test_a_needed_column_must_exist_and_hold_something(tmp_path):
    path = manifest(tmp_path, HEADER + "u,1,a.wav,HI,,F\n")
    assert read_manifest(path, need=["gender"]).known("gender") == {"F"}
    with pytest.raises(ManifestError, match="column 'spk_id' is empty"):
        read_manifest(path, need=["spk_id"])
    with pytest.raises(ManifestError, match="'accent' is missing"):
        read_manifest(path, need=["accent"])
    with pytest.raises(ManifestError, match="no column 'accent'"):
        read_manifest(path).values("accent")


def test_what_is_written_is_read_back(tmp_path):
    rows = [
        {
            "ID": f"u{i}",
            "duration": "1.5",
            "wav": f"$data_root/{i}.wav",
            "wrd": 'SAY "HI", THEN GO',
            "spk_id": "s",
            "gender": "",
            "accent": "northern",
        }
        for i in range(3)
    ]
    write_manifest(tmp_path / "m.csv", rows)
    read = read_manifest(tmp_path / "m.csv", data_root="/corpus")
    assert read.columns[-1] == "accent"
    assert read.seconds == 4.5
    assert [row["wav"] for row in read.rows] == [
        f"/corpus/{i}.wav" for i in range(3)
    ]
    assert read.rows[0]["wrd"] == 'SAY "HI", THEN GO'


def test_an_empty_manifest_is_never_written(tmp_path):
    with pytest.raises(ManifestError, match="no utterances"):
        write_manifest(tmp_path / "m.csv", [])
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replaced_file(path) as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
