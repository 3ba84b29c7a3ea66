"""Descriptors of known signals, and their prediction."""

import math

import pytest
import torch

from speechbrain_privacy.lobes.descriptors import (
    NAMES,
    Descriptors,
    standardised,
)
from speechbrain_privacy.lobes.frontends import patched
from speechbrain_privacy.lobes.multitask import Multitask
from speechbrain_privacy.masking.policies import FixedSpans
from speechbrain_privacy.nnet.pooling import frames_mask
from tests.unit.test_objectives import BINS, MODES, Given, network
from tests.unit.test_voices import RATE, vowel


def tone(hertz, seconds=1.0, gain=0.5):
    t = torch.arange(int(RATE * seconds)) / RATE
    return gain * torch.sin(2 * math.pi * hertz * t).unsqueeze(0)


def of(wavs, name):
    """One descriptor in the middle."""
    found = Descriptors()(wavs)[:, :, NAMES.index(name)]
    return found[0, 20:-20]


@pytest.mark.parametrize("pitch", [80, 125, 200, 400])
def test_pitch_of_voices(pitch):
    wav = vowel(pitch)
    assert float(of(wav, "f0").median()) == pytest.approx(pitch, rel=0.01)
    assert float(of(wav, "voicing").min()) > 0.85
    assert float(of(wav, "log_hnr").min()) > 7


def test_noise_has_no_pitch_and_silence_is_silent():
    torch.manual_seed(0)
    noise = 0.1 * torch.randn(1, RATE)
    assert float((of(noise, "f0") > 0).float().mean()) < 0.1
    assert float(of(noise, "voicing").mean()) < 0.4
    mixed = [of(vowel() + g * noise, "log_hnr").mean() for g in (0.03, 0.3)]
    assert mixed[0] > mixed[1] + 3
    silent = Descriptors()(torch.zeros(1, 4000))
    assert torch.isfinite(silent).all()
    assert float(silent[..., NAMES.index("f0")].abs().max()) == 0
    assert Descriptors()(torch.zeros(1, 1)).shape == (1, 1, 7)


def test_loudness_crossings_and_tilt():
    wav = tone(440)
    assert float(of(wav, "rms").median()) == pytest.approx(
        0.5 / 2**0.5, rel=0.01
    )
    assert float(of(wav, "zero_crossing").mean()) == pytest.approx(
        2 * 440 / RATE, rel=0.03
    )
    both = tone(500) + tone(2000)
    assert float(of(both, "alpha_ratio").mean()) == pytest.approx(0, abs=0.2)
    tilted = tone(500) + tone(2000, gain=0.05)
    assert float(of(tilted, "alpha_ratio").mean()) == pytest.approx(20, abs=0.3)


def test_rasta_hears_changes_and_no_channel():
    torch.manual_seed(0)
    noise = torch.randn(1, RATE)
    swelling = noise * (1 + 0.9 * torch.sin(torch.arange(RATE) / 500))
    assert torch.allclose(
        of(0.1 * swelling, "rasta"), of(swelling, "rasta"), rtol=1e-3
    )
    assert of(swelling, "rasta").std() > 2 * of(noise, "rasta").std()


def test_an_utterance_alone_and_in_a_padded_batch():
    wavs = torch.cat([vowel(100), vowel(150)])
    wavs[1, 9000:] = 0
    both = Descriptors()(wavs)
    alone = Descriptors()(wavs[1:, :9000])
    assert both.shape[1] == RATE // 160 + 1
    n = 9000 // 160 + 1
    assert alone.shape[1] == n
    assert torch.allclose(both[1, :n], alone[0], atol=1e-4)


def test_half_precision_around_descriptors_does_not_reach_them():
    wavs = torch.cat([vowel(100), vowel(150)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = Descriptors()(wavs @ torch.eye(RATE))
    assert found.dtype == torch.float32
    assert torch.allclose(found, Descriptors()(wavs.bfloat16().float()))


def test_names_are_checked():
    assert Descriptors(["rms"])(torch.zeros(2, 800)).shape == (2, 6, 1)
    with pytest.raises(ValueError, match=r"not \['volume'\]"):
        Descriptors(["rms", "volume"])
    with pytest.raises(ValueError, match="not none"):
        Descriptors([])


def test_standardised_channels():
    torch.manual_seed(0)
    x = 5 + 3 * torch.randn(2, 9, 2)
    x[0, :, 1] = 7.0  # never changes
    found = standardised(x, torch.tensor([9, 5]))
    for row, n in ((0, 9), (1, 5)):
        part = found[row, :n, 0]
        assert float(part.mean()) == pytest.approx(0, abs=1e-6)
        assert float(part.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert (found[0, :, 1] == 0).all()
    assert (found[1, 5:] == 0).all()


WEIGHTS = {"f0": 0.7, "rms": 0.2}
MASK = [[0, 1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 1, 0, 0]]
LENGTHS = torch.tensor([1.0, 18 / 27])


@pytest.mark.parametrize("masks", [1, 2])
def test_loss_by_hand(masks):
    mask = [row for row in MASK for _ in range(masks)]
    net = network(Given(mask), masks=masks)
    model = Multitask(net, BINS, WEIGHTS, 0.5, 2.0, n_mfcc=4).eval()
    feats, targets = torch.randn(2, 27, BINS), torch.randn(2, 27, 2)
    out = model(feats, LENGTHS, targets=targets)
    guess = net(feats, LENGTHS).guess
    clean = feats.masked_fill(
        ~frames_mask(torch.tensor([27, 18]), 27)[..., None], 0
    )
    wanted = standardised(targets, torch.tensor([27, 18]))
    gaps = {name: [] for name in ("mel", "mfcc", "f0", "rms")}
    for row, hidden in enumerate(mask):
        utterance = row // masks
        n = (27, 18)[utterance]
        for t in [t for t, h in enumerate(hidden) if h]:
            g = guess[row, t]
            frames = slice(4 * t, min(4 * t + 4, n))
            mel = patched(clean[utterance : utterance + 1], 4)[0, t]
            gaps["mel"].append((model.to_mel(g) - mel).abs().mean())
            mfcc = (clean[utterance, frames] @ model.dct).mean(0)
            gaps["mfcc"].append((model.to_mfcc(g) - mfcc).abs().mean())
            said = model.to_descriptors(g)
            for k, name in enumerate(WEIGHTS):
                mean = wanted[utterance, frames, k].mean()
                gaps[name].append((said[k] - mean).abs())
    means = {n: float(torch.stack(g).mean().detach()) for n, g in gaps.items()}
    for name, value in means.items():
        assert float(out.measures[name]) == pytest.approx(value, rel=1e-4)
    expected = 0.5 * means["mel"] + 2 * means["mfcc"]
    expected += 0.7 * means["f0"] + 0.2 * means["rms"]
    assert float(out.loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert out.count == 6 * masks


@pytest.mark.parametrize(("frontend", "visible_only"), MODES)
def test_every_parameter_learns(frontend, visible_only):
    net = network(FixedSpans(0.5, 2), frontend, visible_only).train()
    model = Multitask(net, BINS, WEIGHTS)
    out = model(
        torch.randn(2, 40, BINS), torch.ones(2), targets=torch.randn(2, 40, 2)
    )
    out.loss.backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_hidden_descriptors_are_learnt():
    """Of a periodic signal, better than by their mean."""
    torch.manual_seed(1)
    patterns, values = torch.randn(4, 4, BINS), torch.tensor([-1.5, 0.5, 2, -1])
    model = Multitask(network(FixedSpans(0.4, 2)), BINS, {"f0": 1.0}).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    errors = []
    for _ in range(80):
        order = (torch.arange(12) + torch.randint(4, (8, 1))) % 4
        targets = values[order].repeat_interleave(4, 1).unsqueeze(2)
        out = model(
            patterns[order].flatten(1, 2), torch.ones(8), targets=targets
        )
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        errors.append(float(out.measures["f0"]))
    assert sum(errors[-5:]) / 5 < 0.5 * errors[0]


@pytest.mark.parametrize("hides", [0, 1])
@pytest.mark.parametrize("n_frames", [1, 5])
def test_short_clips_and_bad_input(n_frames, hides):
    def policy(counts, begins=None, speech=None, generator=None):
        return frames_mask(counts, int(counts.max())) & bool(hides)

    model = Multitask(network(policy), BINS, WEIGHTS)
    feats = torch.randn(1, n_frames, BINS)
    out = model(feats, torch.ones(1), targets=torch.randn(1, n_frames, 2))
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert out.count == (math.ceil(n_frames / 4) if hides else 0)
    with pytest.raises(ValueError, match="f0, rms are the targets"):
        model(feats, torch.ones(1))
    with pytest.raises(ValueError, match="beside"):
        model(feats, torch.ones(1), targets=torch.randn(1, n_frames + 9, 2))
    with pytest.raises(ValueError, match="not negative"):
        Multitask(network(policy), BINS, {"f0": -1.0})
