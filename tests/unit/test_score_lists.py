"""Lists of scores from files, and the command that evaluates them."""

import json
import sys

import numpy as np
import pandas
import pytest

from speechbrain_privacy.cli import main
from speechbrain_privacy.dataio.score_lists import (
    ScoreListError,
    read_scores,
    read_speakers,
    stream_scores,
)
from speechbrain_privacy.metrics.verification import evaluate_scores


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture
def trials(tmp_path):
    """A list with ids, 12 speakers, and the manifest that names them."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(12), 4)
    x = 3 * rng.normal(size=(12, 4))[who] + rng.normal(size=(48, 4))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    i, j = np.triu_indices(48, 1)
    table = pandas.DataFrame(
        {
            "enrolment": [f"u{a}" for a in i],
            "trial": [f"u{a}" for a in j],
            "score": (x @ x.T)[i, j],
            "label": np.where(who[i] == who[j], "target", "nontarget"),
        }
    )
    manifest = tmp_path / "speakers.csv"
    pandas.DataFrame(
        {"ID": [f"u{a}" for a in range(48)], "spk_id": [f"s{w}" for w in who]}
    ).to_csv(manifest, index=False)
    return table, manifest


def test_one_list_in_many_formats(trials, tmp_path):
    table, manifest = trials
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    table.to_csv(tmp_path / "a.txt", index=False, sep=" ")
    table.to_csv(tmp_path / "bare.txt", index=False, header=False, sep=" ")
    mated = (table.label == "target").to_numpy()
    np.savez(
        tmp_path / "a.npz",
        mated=table.score[mated],
        nonmated=table.score[~mated],
    )
    np.savez(tmp_path / "b.npz", score=table.score, label=mated)
    expected = evaluate_scores(table.score[mated], table.score[~mated])
    for name, settings in (
        ("a.csv", {}),
        ("a.csv", {"names": {"score": "score", "label": "label"}}),
        ("a.csv", {"speaker_of": read_speakers(manifest)}),
        ("a.tsv", {}),
        ("a.txt", {}),
        ("bare.txt", {"columns": list(table.columns)}),
        ("a.npz", {}),
        ("b.npz", {}),
    ):
        found = read_scores(tmp_path / name, **settings)
        report = evaluate_scores(
            found.scores[found.mated], found.scores[~found.mated]
        )
        assert report == expected, name
        assert (found.left is None) == ("speaker_of" not in settings)
        assert found.skipped == {}


def test_parquet_is_read_or_the_missing_package_named(
    trials, tmp_path, monkeypatch
):
    path = write(tmp_path / "a.parquet", "")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    with pytest.raises(ScoreListError, match="pip install pyarrow"):
        read_scores(path)
    monkeypatch.setattr(pandas, "read_parquet", lambda path: trials[0])
    assert len(read_scores(path).scores) == len(trials[0])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "file is empty"),
        ("a b 0.5\nc d 0.2\n", "row 1 .a, b, 0.5. names no column"),
        ("enrolment trial\na b\n", "no column 'score'"),
        ("score label\n0.5 1\nx 0\n", "first in trial 2 .'x'."),
        ("score label\n0.5 1\nnan 0\n", "1 of 2 scores are no finite"),
        ("score label\n0.5 1\ninf 0\n", "first in trial 2"),
        ("score label\n0.5 1\n0.2 maybe\n", "trial 2 has the label 'maybe'"),
        ("score\n0.5\n", "which trials are mated"),
        (
            "score label left right\n0.5 1 a b\n",
            "trial 1 is labelled mated, its speakers are 'a' and 'b'",
        ),
        ("score label\n", "no trials, only a header"),
        ("score label\n0.9 1\n0.8 0 1\n", "list.txt: "),
        ("score label\n0.9 1 0\n0.8 0 1\n", "more cells than row 1"),
        ("score label left right\n0.5 1 a a\n1 0 b \n", "2 trials|trial 2"),
        ("score target label\n0.5 1 1\n", "target and label may both"),
        (
            "enrolment trial score label\na b 0.5 1\nc d 1 0\na b 0.6 1\n",
            "trials 1 and 3 are the same pair with two scores, 0.5 and 0.6",
        ),
    ],
)
def test_a_list_that_cannot_be_used_is_one_sentence(tmp_path, text, message):
    with pytest.raises(ScoreListError, match=message) as caught:
        read_scores(write(tmp_path / "list.txt", text))
    assert "list.txt" in str(caught.value)


def test_settings_that_do_not_fit_are_refused(trials, tmp_path):
    path = tmp_path / "a.csv"
    trials[0].to_csv(path, index=False)
    for settings, message in (
        ({"columns": ["score"]}, "1 columns are given, row 1 has 4"),
        ({"names": {"score": "cos"}}, "no column 'cos'"),
        ({"names": {"sc0re": "score"}}, "'sc0re' is no column"),
        (
            {"speaker_of": {"u0": "s"}},
            "speaker is not known, the first is trial",
        ),
    ):
        with pytest.raises(ScoreListError, match=message):
            read_scores(path, **settings)
    bare = write(tmp_path / "b.txt", "score label\n1 1\n0 0\n")
    with pytest.raises(ScoreListError, match="'enrolment'"):
        read_scores(bare, speaker_of={})
    with pytest.raises(ScoreListError, match="no such file"):
        read_scores(tmp_path / "none.csv")
    with pytest.raises(ScoreListError, match="no such file"):
        next(stream_scores(tmp_path / "none.csv"))
    with pytest.raises(ScoreListError, match="no such file"):
        read_speakers(tmp_path / "none.csv")
    with pytest.raises(ScoreListError, match="no column 'spk_id'"):
        read_speakers(write(tmp_path / "m.csv", "ID,wav\n"))


def test_one_utterance_of_two_speakers_is_a_fault(tmp_path):
    path = write(tmp_path / "m.csv", "ID,spk_id\na,s1\nb,\na,s1\na,s2\n")
    with pytest.raises(ScoreListError, match="row 5: 'a' is spoken by 's2'"):
        read_speakers(path)
    write(path, "ID,spk_id\na,s1\nb,\n")
    assert read_speakers(path) == {"a": "s1", "s1": "s1"}


def test_enrolment_by_the_name_of_a_speaker(tmp_path):
    manifest = write(
        tmp_path / "m.csv", "ID,spk_id\nu1,s1\nu2,s2\ns2,s1\nu3,\n"
    )
    scores = write(
        tmp_path / "s.csv",
        "enrolment,trial,score\ns1,u1,2.0\ns1,u2,1.0\nu2,s2,0.5\n",
    )
    scored = read_scores(scores, speaker_of=read_speakers(manifest))
    # 's2' is an utterance of s1 first of all.
    assert scored.left.tolist() == ["s1", "s1", "s2"]
    assert scored.right.tolist() == ["s1", "s2", "s1"]
    assert scored.mated.tolist() == [True, False, False]


def test_another_separator_is_named(tmp_path):
    for text in ("score;label\n1;1\n", "score\tlabel\n1\t1\n"):
        with pytest.raises(ScoreListError, match="row 1 is one cell"):
            read_scores(write(tmp_path / "a.csv", text))


def test_distances_are_noticed_and_turned_round(trials, tmp_path, capsys):
    table, _ = trials
    path, far = tmp_path / "a.csv", tmp_path / "b.csv"
    table.to_csv(path, index=False)
    table.assign(score=-table.score).to_csv(far, index=False)
    for options in ([], ["--stream", "-1", "1"]):
        assert main(["score", str(path), *options]) == 0
        right = capsys.readouterr().out
        assert "distances" not in right
        assert main(["score", str(far), *options, "--distances"]) == 0
        assert capsys.readouterr().out.replace("b.csv", "a.csv") == right
    assert main(["score", str(far)]) == 0
    assert "are these distances?" in capsys.readouterr().out


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    text = "enrolment,trial,score,label\na,b,0.5,1\na,a,9,1\na,c,0.1,0\n"
    path = tmp_path / "excel.csv"
    path.write_text(text, encoding="utf-8-sig")
    assert read_scores(path).skipped == {"self-pairs": 1}


def test_archives_that_cannot_be_used_are_named(tmp_path):
    for content, message in (
        (b"PK broken", "no NumPy archive"),
        (b"", "no NumPy archive"),
    ):
        path = tmp_path / "a.npz"
        path.write_bytes(content)
        with pytest.raises(ScoreListError, match=message):
            read_scores(path)
    np.savez(tmp_path / "b.npz", score=[1, 2], label=[1])
    with pytest.raises(ScoreListError, match="differ in length"):
        read_scores(tmp_path / "b.npz")
    np.savez(
        tmp_path / "c.npz", score=[1.0, 0], left=[1.0, np.nan], right=[1.0, 2]
    )
    with pytest.raises(ScoreListError, match="1 trials have an empty speaker"):
        read_scores(tmp_path / "c.npz")
    np.save(tmp_path / "d.npy", [1.0])
    for read in (read_scores, lambda path: next(stream_scores(path))):
        with pytest.raises(ScoreListError, match="ends in"):
            read(tmp_path / "d.npy")


def test_self_pairs_and_duplicates_are_left_out_and_counted(tmp_path):
    path = write(
        tmp_path / "a.csv",
        "enrolment,trial,score,label\na,b,0.5,1\na,a,9,1\na,c,0.1,0\n"
        "a,b,0.5,1\nb,a,0.4,1\n",
    )
    found = read_scores(path)
    assert found.scores.tolist() == [0.5, 0.1, 0.4]
    assert found.skipped == {"self-pairs": 1, "duplicates": 1}
    assert [side.tolist() for side in found.ids] == [list("aab"), list("bca")]


def test_a_streamed_list_is_the_list(trials, tmp_path, monkeypatch):
    monkeypatch.setattr("speechbrain_privacy.dataio.score_lists.CHUNK", 100)
    path = tmp_path / "a.csv"
    trials[0].to_csv(path, index=False)
    pieces = list(stream_scores(path))
    assert len(pieces) == 12
    whole = read_scores(path)
    scores = np.concatenate([p.scores for p in pieces])
    np.testing.assert_array_equal(scores, whole.scores)
    bad = path.read_text().splitlines()
    bad[151] = "a,b,x,target"
    path.write_text("\n".join(bad))
    with pytest.raises(ScoreListError, match="first in trial 151 "):
        list(stream_scores(path))


def test_the_command_evaluates_and_compares(trials, tmp_path, capsys):
    table, manifest = trials
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    table.to_csv(a, index=False)
    rng = np.random.default_rng(0)
    noisy = table.assign(score=table.score + rng.normal(0, 5, len(table)))
    noisy.sample(frac=1, random_state=0).to_csv(b, index=False)
    out = tmp_path / "r.json"
    status = main(
        ["score", str(a), f"--speakers={manifest}", f"--compare={b}",
         "--permutations=20", f"--json={out}"]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert status == 0
    assert "72 mated and 1056 non-mated trials" in printed
    assert "most exposed speakers" in printed
    assert "EER: +" in printed and "points" in printed
    assert "p < 0.001: differs" in printed or "differs" in printed
    report = json.loads(out.read_text())
    assert report["compared"]["eer"]["p_value"] < 0.05
    # The other list's own numbers stand there too.
    assert "b.csv: 72 mated" in printed
    assert report["other"]["overall"]["eer"] > report["overall"]["eer"]
    assert report["null"]["linkability"]["mean"] > 0
    assert main(["score", str(a)]) == 0
    assert "no speakers are known" in capsys.readouterr().out
    assert main(["score", str(a), "--stream", "-1", "1", f"--json={out}"]) == 0
    assert "min_cllr" in capsys.readouterr().out
    assert "bounds" in json.loads(out.read_text())


def test_options_that_do_not_go_together_are_refused(trials, tmp_path, capsys):
    path = tmp_path / "a.csv"
    trials[0].to_csv(path, index=False)
    stream = ["--stream", "-1", "1"]
    for options, message in (
        ([*stream, "--compare=b.csv"], "--compare needs the whole list"),
        ([*stream, "--permutations=3"], "--permutations needs"),
        (["--names=score"], "not score=cosine"),
    ):
        assert main(["score", str(path), *options]) == 2
        assert message in capsys.readouterr().err
    assert main(["score", str(path), "--permutations=-5"]) == 2
    assert main(["score", str(path), "--stream", "5", "6"]) == 0
    assert "1128 scores lie outside" in capsys.readouterr().out
    assert main(["score", str(path), "--permutations=5"]) == 0
    assert "[4" in capsys.readouterr().out  # the null of the EER
    few = write(
        tmp_path / "few.csv",
        "score,left,right\n" + "1,a,a\n2,b,b\n3,c,c\n0,a,b\n0.5,b,c\n0,a,c\n",
    )
    assert main(["score", str(few)]) == 0
    assert "3 speakers" in capsys.readouterr().out


def test_the_command_refuses_a_comparison_of_different_trials(
    trials, tmp_path, capsys
):
    table, manifest = trials
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    table.to_csv(a, index=False)
    table.iloc[1:].to_csv(b, index=False)
    for options, message in (
        ([f"--compare={b}"], "needs the speakers"),
        ([f"--compare={b}", f"--speakers={manifest}"], "the same trials"),
    ):
        assert main(["score", str(a), *options]) == 2
        assert message in capsys.readouterr().err
