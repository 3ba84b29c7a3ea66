"""Dependence of tasks on speech, and weights from it."""

import json
from itertools import permutations

import numpy as np
import pytest
import soundfile
from hyperpyyaml import load_hyperpyyaml
from hypothesis import given
from hypothesis import strategies as st

from speechbrain_privacy.audit.pretext import downsampled, segments_of
from speechbrain_privacy.cli import main
from speechbrain_privacy.metrics.dependence import (
    centred,
    hsic,
    log_gaussian,
    shuffled_hsic,
    sparsemax,
    task_weights,
)


def kernel_of(x):
    return x @ x.T


def test_hsic_of_linear_kernels_is_the_squared_covariance():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 50, 1))
    y = y + 0.7 * x
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    found = hsic(kernel_of(x), kernel_of(y))
    assert found == pytest.approx(covariance**2, rel=1e-9)
    # Whatever is added to either.
    assert hsic(kernel_of(x + 5), kernel_of(y)) == pytest.approx(found)
    assert hsic(kernel_of(x + 5), kernel_of(y), "released") != pytest.approx(
        found, rel=0.1
    )


def test_the_released_centering_is_that_of_the_released_code():
    kernel = np.random.default_rng(1).normal(size=(6, 6))
    h = np.eye(6) - np.ones((6, 6)) / 36
    assert np.allclose(centred(kernel, "released"), h @ kernel @ h)


@pytest.mark.parametrize("centering", ["hsic", "released"])
def test_the_level_of_nothing_is_the_mean_over_all_orders(centering):
    draw = np.random.default_rng(4)
    one, two = (kernel_of(draw.normal(size=(4, 2))) for _ in range(2))
    orders = [list(o) for o in permutations(range(4))]
    wanted = np.mean([hsic(one, two[o][:, o], centering) for o in orders])
    assert shuffled_hsic(one, two, centering) == pytest.approx(wanted)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores):
    found = sparsemax(scores)
    assert found.sum() == pytest.approx(1.0) and (found >= 0).all()
    # No other point is nearer: the conditions of Karush, Kuhn and Tucker.
    gap = np.asarray(scores) - found
    level = gap[found > 0].mean()
    assert np.allclose(gap[found > 0], level, atol=1e-9)
    assert (gap <= level + 1e-9).all()


@pytest.mark.parametrize("method", ["softmax", "sparsemax"])
@pytest.mark.parametrize("centering", ["hsic", "released"])
def test_weights_descend_and_prefer_what_is_independent(method, centering):
    draw = np.random.default_rng(2)
    kernels, targets = [], []
    for _ in range(3):
        speech = draw.normal(size=(80, 3))
        kernels.append(kernel_of(speech))
        targets.append(
            {
                "noise": draw.normal(size=80),
                "other": draw.normal(size=80),
                "same": speech[:, 0],
            }
        )
    found = task_weights(kernels, targets, method, centering, steps=400)
    assert sum(found.weights.values()) == pytest.approx(1.0)
    assert found.losses[0] == pytest.approx(found.equal)
    assert found.together < found.equal
    assert min(found.losses) >= found.together * 0.98
    if centering == "hsic":
        assert found.weights["same"] == min(found.weights.values())
    # By hand, of one task alone.
    wanted = np.mean(
        [
            hsic(k, np.exp(log_gaussian(t["same"])), centering)
            for k, t in zip(kernels, targets)
        ]
    )
    assert found.alone["same"] == pytest.approx(wanted)


def test_slopes_are_those_of_the_loss():
    """Half a step further down than the first one, numerically."""
    draw = np.random.default_rng(3)
    speech = draw.normal(size=(40, 2))
    targets = {"a": speech[:, 0], "b": draw.normal(size=40)}
    first = task_weights([kernel_of(speech)], [targets], "softmax", steps=1)
    one, other = first.weights["a"], first.weights["b"]
    # d loss / d score_a, from the weights that one step has moved to.
    moved = np.log(one / other) / (2 * -0.01)

    def loss(score):
        shares = np.exp([score, 0.0]) / np.exp([score, 0.0]).sum()
        log = sum(w * log_gaussian(t) for w, t in zip(shares, targets.values()))
        return hsic(kernel_of(speech), np.exp(log))

    slope = (loss(1e-4) - loss(-1e-4)) / 2e-4 / first.equal
    assert moved == pytest.approx(slope, rel=1e-3)


def test_bad_input_is_named():
    eye = np.eye(3)
    with pytest.raises(ValueError, match="'hsic' or 'released'"):
        centred(eye, "none")
    with pytest.raises(ValueError, match="square"):
        hsic(np.ones((2, 3)), eye)
    with pytest.raises(ValueError, match="3 and 2"):
        hsic(eye, np.eye(2))
    with pytest.raises(ValueError, match="NaN"):
        hsic(eye * np.nan, eye)
    with pytest.raises(ValueError, match="'softmax' or 'sparsemax'"):
        task_weights([eye], [{"a": [1, 2, 3]}], "hardmax")
    with pytest.raises(ValueError, match="one at least"):
        task_weights([], [])
    with pytest.raises(ValueError, match=r"\['a'\] and \['b'\]"):
        task_weights([eye, eye], [{"a": [1, 2, 3]}, {"b": [1, 2, 3]}])


@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_ten_frames_of_any_number(n):
    ramp = np.linspace(0, 1, n)[:, None] if n > 1 else np.ones((1, 1))
    found = downsampled(np.hstack([ramp, np.ones((n, 1))]))
    assert found.shape == (10, 2)
    assert np.allclose(found[:, 1], 1.0)
    assert (np.diff(found[:, 0]) >= -1e-12).all()
    assert n < 7 or found[-1, 0] - found[0, 0] > 0.5


@pytest.fixture
def labelled(tmp_path):
    """Two classes; loudness is what the segments of each differ in."""
    draw = np.random.default_rng(0)
    lines, spans = ["ID,duration,wav,spk_id"], ["utt_id,start,end,phone"]
    time = np.arange(16000) / 16000
    for i in range(12):
        gain = draw.uniform(0.05, 0.5)
        pitch = draw.uniform(90, 250)
        wave = sum(
            np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 9)
        )
        wave = gain * wave / 3 + 0.01 * draw.normal(size=16000)
        wave[8000:] += 0.2 * draw.normal(size=8000)
        soundfile.write(tmp_path / f"u{i}.wav", wave, 16000)
        lines.append(f"u{i},1.0,$data_root/u{i}.wav,s{i % 2}")
        spans += [f"u{i},0.0,0.5,AA", f"u{i},0.5,1.0,SH"]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "a.csv").write_text("\n".join(spans) + "\n")
    return tmp_path


def test_the_command_gives_weights_for_the_recipe(labelled, capsys):
    given = [
        "pretext",
        str(labelled / "m.csv"),
        f"--data_folder={labelled}",
        "--least=5",
        f"--json={labelled / 'w.json'}",
    ]
    assert main([*given, f"--alignments={labelled / 'a.csv'}"]) == 0
    said = capsys.readouterr().out
    assert "24 segments of 2 classes" in said and '--weights "{f0:' in said
    found = json.loads((labelled / "w.json").read_text())
    assert found["classes"] == ["AA", "SH"]
    assert sum(found["weights"].values()) == pytest.approx(1.0)
    assert found["together"] <= found["equal"]
    assert set(found["null"]) == set(found["weights"])
    # Whole utterances, by speaker.
    assert main([*given, "--label=spk_id", "--method=softmax"]) == 0
    assert "12 segments of 2 classes" in capsys.readouterr().out
    assert json.loads((labelled / "w.json").read_text())["classes"] == [
        "s0",
        "s1",
    ]


def test_a_recipe_is_written_with_the_weights(tmp_path, labelled, capsys):
    include = tmp_path / "common" / "sizes.yaml"
    include.parent.mkdir()
    include.write_text("dim: 3\n")
    source = tmp_path / "mine" / "tasks.yaml"
    source.parent.mkdir()
    source.write_text(
        "name: !ref tasks_<mask> # tasks\nmask: fixed\n"
        "# Which.\nweights: # of others\n    f0: 1.0\n    rasta: 0.0\n\n"
        "model: !include:../common/sizes.yaml\nn: !ref <weights>\n"
    )
    target = tmp_path / "elsewhere" / "deep" / "phones.yaml"
    given = [
        "pretext",
        str(labelled / "m.csv"),
        f"--data_folder={labelled}",
        f"--alignments={labelled / 'a.csv'}",
        "--least=5",
        f"--json={labelled / 'w.json'}",
        "--recipe",
        str(source),
        str(target),
    ]
    assert main(given) == 0
    found = json.loads((labelled / "w.json").read_text())["weights"]
    with target.open() as file:
        made = load_hyperpyyaml(file)
    assert made["weights"] == pytest.approx(found, abs=1e-4)
    assert made["n"] == made["weights"] and made["model"] == {"dim": 3}
    assert made["name"] == "phones_fixed"
    text = target.read_text()
    assert "# Which.\nweights: # of " in text and "sparsemax" in text
    # Nothing is overwritten, and nothing is looked at in vain.
    capsys.readouterr()
    assert main(given) == 2
    said = capsys.readouterr()
    assert not said.out and "is there already" in said.err
    assert target.read_text() == text
    absent = [*given[:-2], "absent.yaml", str(tmp_path / "other.yaml")]
    assert main(absent) == 2
    assert "absent.yaml: there is no such recipe" in capsys.readouterr().err
    source.write_text("model: 3\n")
    assert main([*given[:-1], str(tmp_path / "other.yaml")]) == 2
    assert "no block 'weights:' of pretext tasks" in capsys.readouterr().err
    assert not (tmp_path / "other.yaml").exists()


def test_too_little_is_named(labelled, capsys):
    given = ["pretext", str(labelled / "m.csv"), f"--data_folder={labelled}"]
    assert main(given) == 2
    assert "no class has 20 segments" in capsys.readouterr().err
    assert main([*given, "--label=accent"]) == 2
    assert "'accent' is missing" in capsys.readouterr().err
    assert main([*given, "--least=1"]) == 2
    assert "least is 2 segments or more, not 1" in capsys.readouterr().err
    with pytest.raises(ValueError, match="values of 'gender', not both"):
        segments_of(None, {}, "gender")
