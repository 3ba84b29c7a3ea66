import csv
import json

import numpy as np
import pytest
import soundfile

from speechbrain_privacy.dataio import minispeech
from speechbrain_privacy.dataio.manifest import read_manifest
from speechbrain_privacy.dataio.minispeech import Settings, make_minispeech
from speechbrain_privacy.integrations.espeak import phones_from_events

SMALL = Settings(n_speakers=4, n_utterances=3, seed=7)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "corpus"
    return make_minispeech(SMALL, folder, processes=1, progressbar=False)


def test_every_utterance_is_there_and_as_long_as_it_says(corpus):
    manifest = read_manifest(corpus / "all.csv", corpus)
    assert len(manifest.rows) == 12
    assert manifest.known("gender") == {"F", "M"}
    assert len(manifest.known("spk_id")) == 4
    for row in manifest.rows:
        sound, rate = soundfile.read(row["wav"])
        assert rate == 16000
        assert len(sound) / rate == pytest.approx(row["duration"], abs=1e-4)
        assert 0.1 < np.abs(sound).max() < 1.0
        assert row["wrd"] == row["wrd"].upper() != ""


def test_phones_cover_each_utterance_without_gaps(corpus):
    durations = {
        row["ID"]: row["duration"]
        for row in read_manifest(corpus / "all.csv", corpus).rows
    }
    phones = {}
    with open(corpus / "alignments.csv", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == ["utt_id", "start", "end", "phone"]
        for row in reader:
            phones.setdefault(row["utt_id"], []).append(
                (float(row["start"]), float(row["end"]), row["phone"])
            )
    assert phones.keys() == durations.keys()
    for name, spans in phones.items():
        assert spans[0][0] == 0.0
        assert spans[-1][1] == pytest.approx(durations[name], abs=2e-3)
        for (_, end, _), (start, _, _) in zip(spans, spans[1:]):
            assert end == start
        assert all(start < end and phone for start, end, phone in spans)
        assert len({phone for *_, phone in spans}) > 2


def test_the_corpus_follows_from_its_settings_on_any_machine(corpus, tmp_path):
    again = make_minispeech(
        SMALL, tmp_path / "again", processes=2, progressbar=False
    )
    for path in sorted(corpus.rglob("*.*")):
        twin = again / path.relative_to(corpus)
        assert twin.read_bytes() == path.read_bytes(), path.name


def test_another_seed_is_another_corpus():
    a, b = (minispeech.draw_speakers(Settings(4, 3, seed)) for seed in (1, 2))
    assert [s.spk_id for s in a] == [s.spk_id for s in b]
    assert a != b
    assert Settings(4, 3, 1).name != Settings(4, 3, 2).name


def test_what_is_there_is_kept_and_never_mixed(corpus, tmp_path):
    before = (corpus / "all.csv").stat().st_mtime_ns
    make_minispeech(SMALL, corpus, progressbar=False)
    assert (corpus / "all.csv").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="other settings"):
        make_minispeech(Settings(4, 3, seed=8), corpus)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="something else"):
        make_minispeech(SMALL, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(minispeech, "write_manifest", fail)
    with pytest.raises(OSError, match="disk full"):
        make_minispeech(
            Settings(2, 1), tmp_path / "c", processes=1, progressbar=False
        )
    assert list(tmp_path.iterdir()) == []


def test_sizes():
    assert Settings().n_speakers >= 48
    big = Settings.lasting(hours=1.0, n_speakers=100)
    assert big.n_speakers == 100
    assert big.n_utterances == pytest.approx(3600 / 2.2 / 100, abs=1)
    with pytest.raises(ValueError, match="two speakers"):
        Settings(n_speakers=1)


def test_the_cache_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert minispeech.cache_folder() == tmp_path / "speechbrain-privacy"


def test_settings_are_stored(corpus):
    assert json.loads((corpus / "settings.json").read_text())["seed"] == 7


def test_events_without_sound_and_repeated_pauses_are_merged():
    events = [(0.0, "_"), (0.1, "'a"), (0.2, ";"), (0.3, "_:"), (0.35, "_")]
    assert phones_from_events(events, 0.5) == [
        (0.0, 0.1, "SIL"),
        (0.1, 0.3, "a"),
        (0.3, 0.5, "SIL"),
    ]
