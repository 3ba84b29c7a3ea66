import json

import numpy as np
import pytest

from speechbrain_privacy.cli import main
from speechbrain_privacy.metrics.error_rates import (
    ErrorCounts,
    character_errors,
    word_errors,
)
from speechbrain_privacy.report.plots import plot_tradeoff
from speechbrain_privacy.report.summary import (
    describe,
    format_table,
    load_run,
    summarise,
)


def interval(value, width=0.05):
    return {"value": value, "low": value - width, "high": value + width}


def write_run(folder, name, seed, wer, eers):
    """A run whose encoder was attacked by two networks."""
    folder.mkdir(parents=True)
    results = {
        "name": name,
        "seed": seed,
        "decoding": "greedy",
        "WER": interval(wer, 2.0),
        "adversaries": {
            "accuracy": {"tdnn": 0.031},
            "chance": {"spk_id": 0.02},
            "utterances": 58,
        },
    }
    speaker = {
        "attackers": {
            f"attacker{i}": {
                "dev_eer": eer,
                "all": {"intervals": {"eer": interval(eer)}},
                "same_gender": {"intervals": {"eer": interval(eer + 0.02)}},
                "enrolment_5": {"intervals": {"eer": interval(eer - 0.1)}},
            }
            for i, eer in enumerate(eers)
        },
        "chosen": f"attacker{int(np.argmin(eers))}",
        "chosen_on": "development speakers",
    }
    gender = {"attackers": {"a": {"eer": interval(0.1)}}, "chosen": "a"}
    audit = {
        "schema": 2,
        "scenario": "semi-informed",
        "train": {"speakers": 58},
        "test": {"speakers": 20, "utterances": 259, "fingerprint": "f"},
        "taps": {
            "logmel": {"speaker": speaker},
            "encoder": {"speaker": speaker, "gender": gender},
        },
        "controls": {"text": speaker},
        "too_weak": ["attacker7"],
    }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "audit.json").write_text(json.dumps(audit))
    return folder


def test_a_single_run_shows_its_interval_and_its_worst_attacker(tmp_path):
    run = load_run(write_run(tmp_path / "a", "plain", 1, 14.0, [0.3, 0.2]))
    features, text, encoder = summarise([run])
    assert (text.model, text.tap, text.wer) == ("control", "text", None)
    assert "attacker7" in describe([run])
    assert features.model == "features" and features.wer is None
    assert features.gender is None
    assert encoder.speaker.value == pytest.approx(20.0)
    assert encoder.speaker.text == "20.0 [15.0, 25.0]"
    assert encoder.same_gender.value == pytest.approx(22.0)
    assert encoder.wer.text == "14.0 [12.0, 16.0]"


def test_seeds_of_a_model_become_mean_and_deviation(tmp_path):
    runs = [
        load_run(write_run(tmp_path / str(s), "plain", s, wer, [eer]))
        for s, wer, eer in ((1, 14.0, 0.2), (2, 16.0, 0.24))
    ]
    *_, encoder = summarise(runs)
    assert encoder.wer.text == "15.0 +- 1.4"
    assert encoder.speaker.text == "22.0 +- 2.8"
    table = format_table(summarise(runs), markdown=True)
    assert table.count("\n") == 5  # header, rule, three rows, guessing
    assert "| guessing" in table and "50.0" in table


def test_runs_that_do_not_compare_are_refused(tmp_path):
    run = load_run(write_run(tmp_path / "a", "plain", 1, 14.0, [0.2]))
    with pytest.raises(ValueError, match="two runs of 'plain' have seed 1"):
        summarise([run, run])
    other = load_run(write_run(tmp_path / "b", "private", 1, 14.0, [0.2]))
    other["audit"]["test"]["fingerprint"] = "g"
    with pytest.raises(ValueError, match="different test data"):
        summarise([run, other])


def test_what_was_not_measured_is_a_dash(tmp_path):
    run = load_run(write_run(tmp_path / "a", "plain", 1, 14.0, [0.2]))
    run["WER"] = {"value": 14.0}
    attack = run["audit"]["taps"]["encoder"]["speaker"]
    for attacker in attack["attackers"].values():
        attacker["same_gender"] = None
    encoder = summarise([run])[-1]
    assert encoder.wer.text == "14.0"
    assert encoder.same_gender is None
    assert "  -  " in format_table(summarise([run]))


def test_the_command_prints_a_table_and_draws(tmp_path, capsys):
    folders = [
        write_run(tmp_path / "a", "plain", 1, 14.0, [0.2]),
        write_run(tmp_path / "b", "private", 1, 15.0, [0.4]),
    ]
    picture = tmp_path / "new" / "p.png"
    status = main(["report", *map(str, folders), f"--plot={picture}"])
    printed = capsys.readouterr().out
    assert status == 0
    assert "plain" in printed and "private" in printed
    assert "20 speakers and 259 utterances" in printed
    assert "tdnn 3.1 (most frequent class: spk_id 2.0)" in printed
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert [p.name for p in picture.parent.iterdir()] == ["p.png"]


def test_an_unfinished_run_is_one_sentence(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no results.json" in capsys.readouterr().err


def test_plots_take_any_suffix(tmp_path):
    run = load_run(write_run(tmp_path / "a", "plain", 1, 14.0, [0.2]))
    path = plot_tradeoff(summarise([run]), tmp_path / "t.svg")
    assert "<svg" in path.read_text()


def test_minispeech_command(tmp_path, capsys):
    folder = tmp_path / "c"
    arguments = ["--speakers=2", "--hours=0.002", f"--folder={folder}"]
    assert main(["make-minispeech", *arguments]) == 0
    assert (folder / "all.csv").is_file()
    assert main(["make-minispeech", "--speakers=1"]) == 2
    assert "two speakers" in capsys.readouterr().err


def test_error_counts():
    counts = word_errors("A B C D", "A X C D E")
    assert counts == ErrorCounts(1, 0, 1, 4)
    assert counts.rate == 50.0
    assert word_errors("A B", "").deletions == 2
    assert character_errors("AB  C", "AB C").errors == 0
    assert (counts + word_errors("A", "A")).rate == pytest.approx(40.0)
    with pytest.raises(ValueError, match="reference"):
        _ = word_errors("", "A").rate
