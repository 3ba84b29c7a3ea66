import csv
import json
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from speechbrain_privacy.cli import main
from speechbrain_privacy.metrics.error_rates import (
    ErrorCounts,
    character_errors,
    word_errors,
)
from speechbrain_privacy.report import plots
from speechbrain_privacy.report.compare import compare_runs
from speechbrain_privacy.report.html import write_page
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
    rng = np.random.default_rng(seed)
    results = {
        "name": name,
        "seed": seed,
        "decoding": "greedy",
        "WER": interval(wer, 2.0),
        "fairness": {
            "gender": {
                "rates": {
                    "rates": {
                        "F": interval(wer / 100),
                        "M": interval(wer / 100),
                    },
                    "gap": {**interval(1.0), "p_value": 0.2},
                    "worst": "F",
                    "best": "M",
                    "speakers": {"F": 8, "M": 12},
                },
            },
            "accent": {"rates": {"not_compared": "one group"}},
        },
        "by_speaker": {
            f"s{i}": [int(wer + rng.integers(0, 2)), 100] for i in range(9)
        },
        "adversaries": {
            "accuracy": {"tdnn": 0.031},
            "chance": {"spk_id": 0.02},
            "utterances": 58,
        },
    }
    left_out = {
        metric: {
            f"s{i}": float(eers[0] + rng.normal(0, 1e-3)) for i in range(9)
        }
        for metric in ("eer", "min_cllr")
    }
    speaker = {
        "attackers": {
            f"attacker{i}": {
                "dev_eer": eer,
                "training": {"accuracy": [0.5, 0.9]},
                "all": {
                    "intervals": {
                        "eer": interval(eer),
                        "min_cllr": interval(0.8),
                    },
                    "by_speaker": {"s0": eer, "s1": eer + 0.1},
                    "left_out": left_out,
                    "hull": {"mated": [0, 2, 5], "nonmated": [8, 3, 0]},
                },
                "same_gender": {"intervals": {"eer": interval(eer + 0.02)}},
                "enrolment_5": {"intervals": {"eer": interval(eer - 0.1)}},
            }
            for i, eer in enumerate(eers)
        },
        "chosen": f"attacker{int(np.argmin(eers))}",
        "chosen_on": "development speakers",
        "null": {"eer": {"mean": 0.5, "low": 0.48, "high": 0.52}},
        "groups": {
            "gender": {
                "metrics": {"F": {"eer": interval(0.1)}},
                "gaps": {"eer": {**interval(0.05), "p_value": 0.5}},
            }
        },
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
    features, text, shuffled, encoder = summarise([run])
    assert shuffled.speaker.text == "50.0 [48.0, 52.0]"
    assert (text.model, text.tap, text.error) == ("control", "text", None)
    assert "attacker7" in describe([run])
    assert features.model == "features" and features.error is None
    assert features.gender is None
    assert encoder.speaker.value == pytest.approx(20.0)
    assert encoder.speaker.text == "20.0 [15.0, 25.0]"
    assert encoder.same_gender.value == pytest.approx(22.0)
    assert encoder.error.text == "14.0 [12.0, 16.0]"


def test_seeds_of_a_model_become_mean_and_deviation(tmp_path):
    runs = [
        load_run(write_run(tmp_path / str(s), "plain", s, wer, [eer]))
        for s, wer, eer in ((1, 14.0, 0.2), (2, 16.0, 0.24))
    ]
    *_, encoder = summarise(runs)
    assert encoder.error.text == "15.0 +- 1.4"
    assert encoder.speaker.text == "22.0 +- 2.8"
    table = format_table(runs, "markdown")
    assert table.count("\n") == 6  # header, rule, four rows, guessing
    assert "| guessing" in table and "50.0" in table


def test_packed_results_give_the_same_tables(tmp_path, capsys):
    folders = [
        write_run(tmp_path / name, name, 1, wer, [0.31234567, eer])
        for name, wer, eer in (("plain", 14.0, 0.2), ("private", 15.0, 0.3))
    ]
    files = [tmp_path / f"{folder.name}.json" for folder in folders]
    for folder, file in zip(folders, files, strict=True):
        assert main(["pack", str(folder), str(file)]) == 0
        assert f"{folder.name}, seed 1, is in" in capsys.readouterr().out
        size = sum(
            (folder / f"{n}.json").stat().st_size for n in ("results", "audit")
        )
        assert file.stat().st_size < size
    tables = []
    for runs in (folders, files):
        for further in ([], ["--compare"]):
            assert main(["report", *map(str, runs), *further]) == 0
            tables.append(capsys.readouterr().out.replace(".json", ""))
    assert tables[:2] == tables[2:]
    found = load_run(files[0])["audit"]["taps"]["encoder"]["speaker"]
    assert found["chosen"] == "attacker1"
    weak, strong = found["attackers"].values()
    assert "by_speaker" not in weak["all"]
    assert set(strong["all"]["by_speaker"]) == {"s0", "s1"}

    (tmp_path / "else.json").write_text("[1]")
    assert main(["report", str(tmp_path / "else.json")]) == 2
    assert "no packed results" in capsys.readouterr().err
    (tmp_path / "else.json").write_text("{1}")
    assert main(["report", str(tmp_path / "else.json")]) == 2
    assert "else.json is no JSON" in capsys.readouterr().err
    old = json.loads(files[0].read_text())
    old["audit"]["schema"] = 0
    files[0].write_text(json.dumps(old))
    assert main(["report", str(files[0])]) == 2
    assert "has schema 0" in capsys.readouterr().err


def test_runs_that_do_not_compare_are_refused(tmp_path):
    run = load_run(write_run(tmp_path / "a", "plain", 1, 14.0, [0.2]))
    with pytest.raises(ValueError, match="two runs of 'plain' have seed 1"):
        summarise([run, run])
    other = load_run(write_run(tmp_path / "b", "private", 1, 14.0, [0.2]))
    other["audit"]["test"]["fingerprint"] = "g"
    with pytest.raises(ValueError, match="different test data"):
        summarise([run, other])


def test_pretrained_encoders_are_wrong_about_phones(tmp_path):
    runs = []
    for seed, error in ((1, 50.0), (2, 54.0)):
        run = load_run(write_run(tmp_path / str(seed), "ssl", seed, 1, [0.2]))
        del run["WER"]
        run["phones"] = {
            "logmel": {"error": interval(60.0, 1.0), "majority": 85.0},
            "encoder": {"error": interval(error, 1.0), "majority": 85.0},
        }
        runs.append(run)
    features, *_, encoder = summarise(runs)
    assert features.error.text == "60.0 [59.0, 61.0]"
    # Of features it is told whichever run has asked.
    asked = runs[0]["phones"].pop("logmel")
    runs[1]["phones"]["logmel"] = asked
    features, *_ = summarise(runs)
    assert features.error.text == "60.0 [59.0, 61.0]"
    assert encoder.error.text == "52.0 +- 2.8"
    assert "phone error %" in format_table(runs)
    assert "85.0 % wrong" in describe(runs)
    assert "errors:" not in describe(runs)
    asked["error"]["n_speakers"] = 9
    asked["error"]["warning"] = "9 speakers: a rough guess"
    runs[0]["probe"] = {"folds": 5}
    told = describe(runs)
    assert "of 9 aligned speakers, learnt on the others in 5 folds" in told
    assert told.endswith("errors: 9 speakers: a rough guess.")
    page = write_page(runs, tmp_path / "page.html").read_text()
    assert "phone error %" in page and "What does it cost?" not in page
    runs[0]["efficiency"] = {"flops": 4.25e12, "before": {"units": {}}}
    page = write_page(runs, tmp_path / "page.html").read_text()
    assert "What does it cost?" in page
    assert "<td class='number'>4.25</td>" in page and "units 0" in page
    del runs[0]["phones"]
    assert "No phones" in describe(runs[:1])
    words = load_run(write_run(tmp_path / "w", "asr", 1, 14.0, [0.2]))
    with pytest.raises(ValueError, match="do not compare"):
        format_table([words, runs[1]])


def test_what_was_not_measured_is_a_dash(tmp_path):
    run = load_run(write_run(tmp_path / "a", "plain", 1, 14.0, [0.2]))
    run["WER"] = {"value": 14.0}
    attack = run["audit"]["taps"]["encoder"]["speaker"]
    for attacker in attack["attackers"].values():
        attacker["same_gender"] = None
    encoder = summarise([run])[-1]
    assert encoder.error.text == "14.0"
    assert encoder.same_gender is None
    assert "  -  " in format_table([run])


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
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "not the output folder of a run" in capsys.readouterr().err


def test_plots_take_any_suffix(tmp_path):
    run = load_run(write_run(tmp_path / "a", "plain", 1, 14.0, [0.2]))
    path = plots.save(plots.tradeoff(summarise([run])), tmp_path / "t.svg")
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


@pytest.fixture
def two_runs(tmp_path):
    return [
        write_run(tmp_path / "a", "plain", 1, 14.0, [0.2, 0.3]),
        write_run(tmp_path / "b", "private", 1, 25.0, [0.4, 0.5]),
    ]


def test_features_and_controls_are_shown_once(two_runs):
    rows = summarise([load_run(folder) for folder in two_runs])
    assert [(row.model, row.tap) for row in rows] == [
        ("features", "logmel"),
        ("control", "text"),
        ("control", "shuffled labels"),
        ("plain", "encoder"),
        ("private", "encoder"),
    ]


def test_a_comparison_says_what_differs(two_runs, tmp_path, capsys):
    folders = list(map(str, two_runs))
    assert main(["report", *folders, "--compare"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"WER, points +\+1\d\.\d+ .* differs", told)
    assert re.search(r"encoder: speaker EER, points +\+20\.00 .* differs", told)
    assert re.search(r"encoder: Cllr_min, bit +\+0\.00 .* no evidence", told)
    found = compare_runs(*map(load_run, two_runs))
    assert found["encoder: speaker EER, points"].value == pytest.approx(20.0)
    assert main(["report", folders[0], "--compare"]) == 2
    assert "needs two runs" in capsys.readouterr().err
    other = load_run(two_runs[1])
    other["audit"]["test"]["fingerprint"] = "g"
    with pytest.raises(ValueError, match="different test data"):
        compare_runs(load_run(two_runs[0]), other)


def test_tables_for_papers_and_spreadsheets(two_runs, capsys):
    rows = [load_run(folder) for folder in two_runs]
    table = list(csv.reader(format_table(rows, "csv").splitlines()))
    assert len(table) == 7 and {len(line) for line in table} == {7}
    latex = format_table(rows, "latex")
    assert r"WER \% &" in latex and latex.count(r"\\") == 7
    with pytest.raises(ValueError, match="no table style 'word'"):
        format_table(rows, "word")


def test_tables_for_programs_stand_alone(two_runs, capsys):
    assert main(["report", *map(str, two_runs), "--format=csv"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.strip().splitlines()) == 7
    assert "attackers trained" in printed.err


def test_runs_of_different_suites_are_refused(two_runs, caplog):
    a, b = map(load_run, two_runs)
    b["audit"]["suite"] = {"speeds": [1.0, 0.9]}
    with pytest.raises(ValueError, match="different suites"):
        summarise([a, b])
    a["audit"]["suite"] = b["audit"]["suite"]
    b["audit"]["attackers"] = {"speaker": {"tdnn": {"epochs": 5}}}
    summarise([a, b])
    assert "older audits do not say how attackers were trained" in caplog.text
    a["audit"]["attackers"] = {"speaker": {"tdnn": {"epochs": 25}}}
    with pytest.raises(ValueError, match="speaker.tdnn.epochs: 25 and 5"):
        summarise([a, b])
    # Attackers that have no settings are known by their names.
    bare = [
        {"speaker": {"tdnn": {kind: {}}}, "attribute": {}}
        for kind in ("Cosine", "PLDA")
    ]
    kept = a["audit"]["attackers"]
    a["audit"]["attackers"], b["audit"]["attackers"] = bare
    with pytest.raises(ValueError, match="speaker.tdnn.Cosine: "):
        summarise([a, b])
    a["audit"]["attackers"] = kept
    # Words give away the same of every model.
    b["audit"]["attackers"] = {**a["audit"]["attackers"], "text": {"n": 1}}
    summarise([a, b])
    b["audit"]["attackers"] = a["audit"]["attackers"]
    del b["by_speaker"]["s0"]
    with pytest.raises(ValueError, match="different speakers"):
        compare_runs(a, b)


def test_an_audit_of_another_schema_is_refused(two_runs):
    path = two_runs[0] / "audit.json"
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 1'))
    with pytest.raises(ValueError, match="schema 1, this version reads 2"):
        load_run(two_runs[0])


def test_a_page_holds_everything_and_needs_nothing(two_runs, tmp_path, capsys):
    page = tmp_path / "new" / "page.html"
    status = main(
        ["report", *map(str, two_runs), f"--html={page}", "--compare"]
    )
    assert status == 0 and str(page) in capsys.readouterr().out
    text = page.read_text()
    assert text.count("<svg") == 5
    for shown in ("attacker1", "development", "private", "20.0 [15.0, 25.0]",
                  "Does it work for everybody", "<b>attacker0</b>",
                  "gap, F less M", "p = 0.50", "Is the difference real?",
                  "WER, points", "<b>a</b>"):  # fmt: skip
        assert shown in text, shown
    assert not re.search(r"(src|href)=.http", text)
    assert [p.name for p in page.parent.iterdir()] == ["page.html"]


def test_pictures_of_a_report_are_those_of_its_numbers(two_runs):
    run = load_run(two_runs[0])
    attack = run["audit"]["taps"]["encoder"]["speaker"]
    reports = {"a": attack["attackers"][attack["chosen"]]["all"]}
    # At even odds the cross-entropy is Cllr_min.
    curve = plots.cross_entropy(reports).axes[0].lines[1]
    at = np.argmin(np.abs(curve.get_xdata()))
    mated, nonmated = np.array([0, 2, 5]) / 7, np.array([8, 3, 0]) / 11
    expected = 0.5 * sum(
        part @ np.log2((mated + nonmated) / np.where(part > 0, part, 1))
        for part in (mated, nonmated)
    )
    assert curve.get_ydata()[at] == pytest.approx(expected)
    line = plots.speakers(reports).axes[0].lines[0]
    assert line.get_xdata().tolist() == pytest.approx([20.0, 30.0])
    assert len(plots.det(reports).axes[0].lines) == 2
    mated_line, nonmated_line, _ = plots.tippett(reports).axes[0].lines
    # Above even evidence: the five mated trials of the last segment and, with
    # a ratio of (2 / 7) / (3 / 11), those of the one before.
    for line, share in ((mated_line, 100.0), (nonmated_line, 100 * 3 / 11)):
        x, y = line.get_data()
        assert y[np.searchsorted(x, 0.0) - 1] == pytest.approx(share)


def test_a_model_has_one_colour_in_every_picture():
    looks = plots._colours(
        ["logmel", "a: encoder", "a: posteriors", "b/1: encoder"]
    )
    assert looks["logmel"] == "0.3"
    assert looks["a: encoder"] == to_rgb("C0")
    assert looks["b/1: encoder"] == to_rgb("C1")
    paler = np.array(looks["a: posteriors"]) - looks["a: encoder"]
    assert (paler >= 0).all() and paler.max() > 0.1


def informed(folder):
    """A run whose audit also has attackers who know less, and criteria."""
    folder = write_run(folder, "adv", 1, 14.0, [0.3, 0.2])
    audit = json.loads((folder / "audit.json").read_text())
    attack = {
        "attackers": {"x": {"all": {"intervals": {"eer": interval(0.45)}}}},
        "chosen": "x",
    }
    audit["unaware"] = {
        "encoder": {"ignorant": attack, "lazy-informed": attack},
        "inner": {"not_attacked": "the unprotected model has none"},
    }
    audit["taps"]["encoder"]["speaker"]["legal"] = {
        "all": {
            "linking": {**interval(0.3), "n_speakers": 6},
            "singling_out": interval(0.35),
        },
        "enrolment_5": {"not_searched": "0 speakers have a model"},
    }
    (folder / "audit.json").write_text(json.dumps(audit))
    return folder


def test_what_an_attacker_knows_stands_in_text_and_page(tmp_path, capsys):
    folder = informed(tmp_path / "a")
    assert main(["report", str(folder), f"--html={tmp_path / 'p.html'}"]) == 0
    told = capsys.readouterr().out
    lines = [line.split() for line in told.splitlines() if "adv/1" in line]
    assert [line[2] for line in lines] == [
        "ignorant",
        "lazy-informed",
        "semi-informed",
        "the",
    ]
    assert lines[0][3] == "45.0" and lines[2][3] == "20.0"
    page = (tmp_path / "p.html").read_text()
    assert "the unprotected model has none" in page
    # Six speakers: the right one and four others, one being left out.
    assert "<td class='number'>20.0</td>" in page
    assert "30.0 [25.0, 35.0]" in page and "35.0 [30.0, 40.0]" in page
    assert "0 speakers have a model" in page


def test_attackers_that_learnt_on_more_are_not_compared(two_runs):
    runs = [load_run(folder) for folder in two_runs]
    runs[1]["audit"]["train"]["fingerprint"] = "more"
    with pytest.raises(ValueError, match="attackers learnt on different data"):
        summarise(runs)


def test_other_trainings_are_no_repetitions(two_runs):
    a, b = map(load_run, two_runs)
    b["name"], b["seed"] = a["name"], a["seed"] + 1
    a["settings"] = {"lr": "0.1", "old": "1", "model.dim": "3"}
    summarise([a, b])  # nobody knows
    b["settings"] = {"lr": "0.1", "new": "2", "model.dim": "3"}
    summarise([a, b])  # of two versions
    b["settings"]["model.dim"] = "4"
    with pytest.raises(ValueError, match=r"model\.dim 3 \(seed .*and 4 \(se"):
        summarise([a, b])
    b["name"] = "another"
    summarise([a, b])
    b["name"] = a["name"]
    b["settings"] = {**a["settings"], "new": "2"}
    a["provenance"] = b["provenance"] = {"speechbrain_privacy": "1", "git": "x"}
    with pytest.raises(ValueError, match="new None .* and 2"):
        summarise([a, b])
    b["provenance"] = {"speechbrain_privacy": "1", "git": "y"}
    summarise([a, b])
    a["epochs"], b["epochs"] = 20, 2
    with pytest.raises(ValueError, match="with epochs 20 .* and 2"):
        summarise([a, b])
    a["epochs"] = 2
    b["train"] = "other speech"
    summarise([a, b])  # nobody knows what the other one heard
    a["train"] = "some speech"
    with pytest.raises(ValueError, match="with data some .* and other speech"):
        summarise([a, b])
    # A comparison is of two runs, whatever they were trained with.
    b["name"] = a["name"]
    assert compare_runs(a, b)
    b["audit"]["train"]["fingerprint"] = "more"
    with pytest.raises(ValueError, match="learnt on different data"):
        compare_runs(a, b)


def test_phone_errors_are_compared_by_speaker(two_runs):
    a, b = map(load_run, two_runs)
    for run, wrong in ((a, 30), (b, 40)):
        counts = {f"s{i}": [wrong + i, 100] for i in range(9)}
        run["phones"] = {"encoder": {"by_speaker": counts}}
    name = "encoder: phone error, points"
    found = compare_runs(a, b)[name]
    assert found.value == pytest.approx(10.0)
    assert found.low == pytest.approx(10.0) == found.high
    # Another front-end has fewer frames of the same speakers.
    halves = {f"s{i}": [20 + i, 50] for i in range(9)}
    b["phones"]["encoder"]["by_speaker"] = halves
    found = compare_runs(a, b)[name]
    assert found.value == pytest.approx(100 * (24 / 50 - 34 / 100))
    assert found.low < found.value < found.high
    b["phones"]["encoder"]["by_speaker"] = {**halves, "s9": [1, 50]}
    assert name not in compare_runs(a, b)  # another speaker
    b["phones"] = a["phones"]
    assert name in compare_runs(a, b)
    b["probe"] = {"epochs": 3}  # a stronger one
    assert name not in compare_runs(a, b)
    del b["phones"]
    assert name not in compare_runs(a, b)


def test_a_folder_of_runs_is_none(two_runs):
    folder = two_runs[0].parent
    with pytest.raises(FileNotFoundError, match="give the runs in it, "):
        load_run(folder)
