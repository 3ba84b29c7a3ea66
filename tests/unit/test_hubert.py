"""HuBERT, its targets, and mixed utterances."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from speechbrain_privacy.audit import units
from speechbrain_privacy.audit.units import (
    Clusters,
    cepstral_frames,
    learn_units,
    units_of,
)
from speechbrain_privacy.augment.mixing import UtteranceMixing
from speechbrain_privacy.dataio.ragged import read_spent, write_ragged
from speechbrain_privacy.lobes.hubert import Hubert
from speechbrain_privacy.masking.cepstra import CepstralFrames
from speechbrain_privacy.masking.policies import FixedSpans
from tests.unit.test_objectives import BINS, MODES, Given, network

MASK = [[0, 1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0, 0]]
LENGTHS = torch.tensor([1.0, 18 / 27])


def codes(seed=0, n=7):
    draw = torch.Generator().manual_seed(seed)
    return 1 + torch.randint(5, (2, n), generator=draw)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_loss_by_hand(weight):
    model = Hubert(network(Given(MASK)), 5, dim=8, visible_weight=weight).eval()
    feats, targets = torch.randn(2, 27, BINS), codes()
    targets[0, 5] = 0  # nobody knows
    targets[1, 5:] = 0  # padding
    torch.manual_seed(0)
    out = model(feats, LENGTHS, codes=targets)
    torch.manual_seed(0)
    guess = model.project(model.network(feats, LENGTHS).guess)
    cosine = torch.nn.functional.cosine_similarity(
        guess.unsqueeze(2), model.clusters, dim=3
    )
    scores = (cosine / 0.1).log_softmax(2)
    losses = [[], []]
    for row, n in ((0, 7), (1, 5)):
        for t in range(n):
            if targets[row, t]:
                value = -scores[row, t, targets[row, t] - 1]
                losses[MASK[row][t]].append(float(value))
    visible, hidden = (sum(some) / len(some) for some in losses)
    expected = (1 - weight) * hidden + weight * visible
    assert float(out.loss) == pytest.approx(expected, rel=1e-4)
    assert out.count == len(losses[1]) == 4


@pytest.mark.parametrize(("frontend", "visible_only"), MODES)
def test_every_parameter_learns_with_several_masks(frontend, visible_only):
    net = network(FixedSpans(0.5, 2), frontend, visible_only, masks=2).train()
    model = Hubert(net, 5, dim=8)
    out = model(
        torch.randn(2, 40, BINS), torch.tensor([1.0, 0.5]), codes=codes(n=10)
    )
    out.loss.backward()
    assert out.count == 2 * (5 + 2)
    assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_objective_learns():
    torch.manual_seed(1)
    patterns = torch.randn(4, 4, BINS)
    model = Hubert(network(FixedSpans(0.4, 2)), 4, dim=8).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        order = (torch.arange(12) + torch.randint(4, (8, 1))) % 4
        feats = patterns[order].flatten(1, 2)
        out = model(feats, torch.ones(8), codes=order + 1)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    assert float(out.correct) / out.count > 0.6


def test_nothing_hidden_and_bad_input():
    model = Hubert(network(Given([[0] * 7] * 2)), 5).train()
    feats = torch.randn(2, 27, BINS)
    out = model(feats, LENGTHS, codes=codes())
    out.loss.backward()
    assert (float(out.loss.detach()), out.count) == (0.0, 0)
    with pytest.raises(ValueError, match="needs the cluster"):
        model(feats, LENGTHS)
    with pytest.raises(ValueError, match="5 codes for 7 frames"):
        model(feats, LENGTHS, codes=codes(n=5))
    # Lengths round: one code more or less is none that is known, or unused.
    model.network.policy = Given([[1] * 7, [1] * 5 + [0] * 2])
    for n, count in ((6, 6 + 5), (8, 7 + 5)):
        assert model(feats, LENGTHS, codes=codes(n=n)).count == count
    with pytest.raises(ValueError, match="visible_weight"):
        Hubert(network(FixedSpans()), 5, visible_weight=2.0)
    with pytest.raises(ValueError, match="must be 0"):
        Hubert(network(FixedSpans(), visible_only=True), 5, visible_weight=0.5)


def test_units_are_clusters_of_standardised_channels(tmp_path):
    draw = np.random.default_rng(0)
    kinds = draw.integers(3, size=900)
    frames = np.zeros((900, 2), np.float32)
    frames[:, 0] = 1000 * draw.normal(size=900)  # loud, and says nothing
    frames[:, 0] = 1000 * np.sign(frames[:, 0])
    frames[:, 1] = 0.001 * kinds
    units = learn_units(frames, 6)(frames)
    signs = frames[:, 0] > 0
    seen = {(u, k, s) for u, k, s in zip(units, kinds, signs, strict=True)}
    assert len(seen) == 6  # each unit is one kind and one sign
    with pytest.raises(ValueError, match="two units"):
        learn_units(frames, 1)
    with pytest.raises(ValueError, match="900 frames cannot be 901 units"):
        learn_units(frames, 901)


def test_units_are_learnt_of_some_training_frames_and_given_to_all(tmp_path):
    """Frames go by one utterance at a time, and are read again, not kept."""
    read = []

    def frames_of(dataset):
        for item in dataset:
            read.append(item["id"])
            # Where 0.0 to 0.9 and 5.0 to 5.9 stand for two units.
            yield item["id"], item["x"] + np.arange(10.0)[:, None] / 10

    def speech(prefix, count):
        data = {f"{prefix}{i}": {"x": 5.0 * (i % 2)} for i in range(count)}
        return DynamicItemDataset(data, output_keys=["id", "x"])

    train, test = speech("a", 40), speech("b", 3)
    path = tmp_path / "units.npz"

    def units(*datasets, **settings):
        return units_of(
            datasets, 2, frames_of, path, most_frames=95, **settings
        )

    found = units(train, test, identity="x")
    learnt, after = read[:10], read[10:]
    assert len(set(learnt)) == 10 and learnt != sorted(learnt)
    assert after == [*train.data_ids, *test.data_ids] == list(found)
    low, high = found["a0"][0], found["a1"][0]
    assert low != high
    for key, some in found.items():
        odd = int(key[1:]) % 2
        assert some.tolist() == [high if odd else low] * 10
    # Kept under their name, and nothing beside them.
    assert [p.name for p in tmp_path.iterdir()] == ["units.npz"]
    # What it took is told, of the first data alone.
    spent = read_spent(path)
    assert spent["cpu_seconds"] > 0
    del read[:]
    again = units(train, test, identity="x")
    assert not read
    assert read_spent(path) == spent
    assert all(np.array_equal(again[key], found[key]) for key in found)
    units(train, identity="y", seed=1)
    assert read[:10] != learnt
    # 400 frames, two units, one channel; what learning takes comes on top.
    units(train, identity="z")
    assert read_spent(path)["flops"] == spent["flops"] > 2 * 400 * 2


def test_units_that_were_found_before_a_kill_are_used_again(tmp_path):
    data = {f"u{i}": {"x": float(i % 2)} for i in range(6)}
    dataset = DynamicItemDataset(data, output_keys=["id", "x"])
    path = tmp_path / "units.npz"
    calls = []

    def frames_of(some, alive=True):
        calls.append(len(some))
        for item in some:
            if not alive and len(calls) == 2:
                raise KeyboardInterrupt
            yield item["id"], np.full((3, 1), item["x"])

    with pytest.raises(KeyboardInterrupt):
        units_of([dataset], 2, partial(frames_of, alive=False), path, "x")
    assert calls == [6, 6] and not path.exists()
    units_of([dataset], 2, frames_of, path, "x")
    assert calls == [6, 6, 6]  # clusters were there
    # Another process's share is taken as it is.
    path.unlink()
    Clusters(np.zeros(1), np.ones(1), np.eye(2)[:, :1]).write(
        tmp_path / "units.clusters.npz", "y", {"flops": 5}
    )
    write_ragged(
        tmp_path / "units.0of1.npz",
        "y",
        {key: np.array([7]) for key in dataset.data_ids},
        {"flops": 2, "cpu_seconds": 1.0},
    )
    found = units_of([dataset], 2, frames_of, path, "y")
    assert {tuple(some) for some in found.values()} == {(7,)}
    assert len(calls) == 3
    spent = read_spent(path)
    assert (spent["flops"], spent["cpu_seconds"]) == (7, 1.0)


@pytest.mark.parametrize("n_samples", [1, 159, 160, 16000, 16161])
def test_cepstral_targets_are_as_many_as_encoder_frames(n_samples):
    net = network(FixedSpans())
    item = {"id": "u", "sig": torch.randn(n_samples)}
    ((key, found),) = cepstral_frames(
        [item], CepstralFrames(), net.encoder.stride
    )
    feats = torch.randn(1, n_samples // 160 + 1, BINS)
    hidden, _ = net.encoder(feats, torch.ones(1))
    assert key == "u" and found.shape == (hidden.shape[1], 39)


def test_teachers_hear_utterances_one_by_one(monkeypatch):
    """In a padded batch relative lengths round, and a frame can be lost."""
    asked = {}

    def tapped_frames(brain, taps, dataset, batch_size, bar):
        asked.update(batch_size=batch_size, module=taps["teacher"].module)
        yield "u", "teacher", "frames"

    monkeypatch.setattr(units, "tapped_frames", tapped_frames)
    brain = SimpleNamespace(
        modules=torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2)}),
        noprogressbar=True,
    )
    source, frames_of = units.teacher_frames(brain, "a")
    assert list(frames_of(None)) == [("u", "frames")]
    assert asked == {"batch_size": 1, "module": "a"}
    assert units.teacher_frames(brain, "a")[0] == source
    brain.modules["a"].weight.data += 1
    assert units.teacher_frames(brain, "a")[0] != source


def test_mixing_keeps_the_longer_part_and_the_energy_asked_for():
    torch.manual_seed(0)
    wavs = torch.randn(4, 8000)
    wavs[1] *= 10
    wavs[2, 4000:] = 0
    lengths = torch.tensor([1.0, 1.0, 0.5, 1.0])
    mixing = UtteranceMixing(1.0, most=0.5, decibels=(5.0, 5.0))
    changed = torch.zeros(4)
    for _ in range(50):
        mixed = mixing(wavs, lengths)
        difference = mixed - wavs
        at = difference != 0
        assert (at.float().sum(1) <= 0.5 * lengths * 8000).all()
        assert not at[2, 4000:].any()
        changed += at.any(1)
        for row in range(4):
            if at[row].sum() > 1000:
                ratio = wavs[row, : int(8000 * lengths[row])].square().mean()
                ratio = ratio / difference[row, at[row]].square().mean()
                assert 10 * ratio.log10() == pytest.approx(5.0, abs=1.0)
    assert (changed == 50).all()


def test_mixing_seldom_never_and_alone():
    torch.manual_seed(0)
    wavs, lengths = torch.randn(400, 50), torch.ones(400)
    assert torch.equal(UtteranceMixing(0.0)(wavs, lengths), wavs)
    mixed = UtteranceMixing(0.2)(wavs, lengths)
    share = float((mixed != wavs).any(1).float().mean())
    assert share == pytest.approx(0.2, abs=0.06)
    assert torch.equal(UtteranceMixing(1.0)(wavs[:1], lengths[:1]), wavs[:1])
    silent = UtteranceMixing(1.0)(torch.zeros(3, 50), torch.ones(3))
    assert torch.isfinite(silent).all()
    for options in (
        {"probability": 2.0},
        {"most": 0.7},
        {"decibels": (5.0, -5.0)},
    ):
        with pytest.raises(ValueError, match=r"\d"):
            UtteranceMixing(**options)
