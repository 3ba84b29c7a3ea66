"""The phone probe: labels by time, errors by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechbrain_privacy.audit.phones import (
    PhoneProbe,
    frame_grid,
    labelled_frames,
)
from speechbrain_privacy.audit.representations import Representations
from speechbrain_privacy.lobes.conformer import ConformerLobe

MANIFEST = SimpleNamespace(
    path="m.csv",
    rows=[
        {"ID": "a", "duration": 1.0, "spk_id": "s1"},
        {"ID": "b", "duration": 0.5, "spk_id": "s2"},
        {"ID": "c", "duration": 0.5, "spk_id": "s2"},
    ],
)


def test_frames_get_the_phone_at_their_middle():
    data = Representations.of(
        {"a": np.arange(10.0)[:, None], "c": np.zeros((5, 1))}
    )
    alignments = {"a": [(0.0, 0.16, "x"), (0.16, 0.34, "y"), (0.34, 0.7, "z")]}
    frames, phones, speakers = labelled_frames(
        data, MANIFEST, alignments, 0.1, 0.05
    )
    # Middles .05 .15 | .25 | .35 .45 .55 .65; later frames belong to nothing.
    assert "".join(phones) == "xxyzzzz"
    assert frames[:, 0].tolist() == list(range(7))
    assert set(speakers) == {"s1"}
    with pytest.raises(ValueError, match="none of its IDs"):
        labelled_frames(data, MANIFEST, {"b": [(0.0, 1.0, "x")]}, 0.1, 0.05)


def test_errors_and_the_majority():
    rng = np.random.default_rng(0)
    phones = np.array(["a"] * 600 + ["b"] * 300 + ["c"] * 100)
    speakers = np.array([f"s{i % 10}" for i in range(1000)])
    frames = rng.normal(size=(1000, 5)).astype(np.float32)
    blind = PhoneProbe({}).score(
        (frames, phones, speakers), (frames[::-1], phones, speakers)
    )
    assert blind["majority"] == pytest.approx(40)
    assert blind["error"]["value"] == pytest.approx(40, abs=3)
    frames[:, 0] += 5 * (phones == "b") - 5 * (phones == "c")
    told = PhoneProbe({}, most_frames=500).score(
        (frames, phones, speakers), (frames, phones, speakers)
    )
    assert told["error"]["value"] < 3
    assert told["error"]["low"] <= told["error"]["value"]
    assert (told["train_frames"], told["test_frames"]) == (500, 1000)
    assert told["phones"] == 3


@pytest.mark.parametrize(
    "frontend", ["convolution", "patches", "convolved_patches"]
)
def test_encoders_know_where_their_frames_lie(frontend):
    lobe = ConformerLobe(8, 16, num_layers=1, frontend=frontend)
    step, first = lobe.grid
    feats = torch.randn(1, 41, 8, requires_grad=True)
    out, _ = lobe.subsampling(feats, torch.tensor([41]))
    for i in (1, 3, 7):
        (grad,) = torch.autograd.grad(out[0, i, 0], feats, retain_graph=True)
        seen = grad.abs().sum(2)[0].nonzero().squeeze(1).float()
        assert float(seen.mean()) / 100 == pytest.approx(first + step * i)


def test_the_rate_is_what_fits_the_frames():
    modules = torch.nn.Sequential(
        ConformerLobe(8, d_model=8, num_layers=1, nhead=1, stride=4)
    )
    lasting = {"ID": "a", "duration": 3.0, "spk_id": "s"}
    manifest = SimpleNamespace(path="m.csv", rows=[lasting])

    def grid(n):
        data = Representations.of({"a": np.zeros((n, 1))})
        return frame_grid(modules, data, manifest)

    # Wherever it is tapped: the encoder's rate, or that of features.
    assert grid(75) == grid(76) == modules[0].grid
    assert grid(300) == grid(301) == (0.01, 0.0)
    with pytest.raises(ValueError, match="every 20.0 ms; known are 10 ms, 40"):
        grid(150)


def test_folds_judge_each_speaker_by_the_others():
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"s{i}" for i in range(6)], 100)
    phones = np.tile(["a", "b"], 300)
    frames = rng.normal(size=(600, 3)).astype(np.float32)
    frames[:, 0] += 6 * (phones == "b")
    # One speaker's frames tell phones by another channel, and only them: who
    # learnt from that speaker would know.
    odd = speakers == "s3"
    frames[odd, 0] = 3.0
    frames[odd, 1] += 40 + 6 * (phones[odd] == "b")
    found = PhoneProbe({}, folds=6).score_folds((frames, phones, speakers))
    wrong = {name: bad for name, (bad, _) in found["by_speaker"].items()}
    assert wrong["s3"] > 30
    assert max(bad for name, bad in wrong.items() if name != "s3") < 5
    assert sum(n for _, n in found["by_speaker"].values()) == 600
    assert found["test_frames"] == 600
    assert found["train_frames"] == 500
    assert found["error"]["value"] == pytest.approx(sum(wrong.values()) / 6)
    with pytest.raises(ValueError, match="6 speakers .* fewer than 7 folds"):
        PhoneProbe({}, folds=7).score_folds((frames, phones, speakers))
    with pytest.raises(ValueError, match="2 or more"):
        PhoneProbe({}, folds=1)


def test_too_few_speakers_are_told_before_a_training():
    alignments = {"a": [(0.0, 1.0, "x")], "b": [(0.0, 0.5, "x")]}
    PhoneProbe({}, folds=2).check(MANIFEST, alignments)
    PhoneProbe({}).check(MANIFEST, alignments)
    with pytest.raises(ValueError, match="m.csv: 2 speakers .* than 3 folds"):
        PhoneProbe({}, folds=3).check(MANIFEST, alignments)
