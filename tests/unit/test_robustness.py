"""Worse speech is heard, and what is told is that of the clean speech."""

from types import SimpleNamespace

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain import Stage
from speechbrain.augment.augmenter import Augmenter

from speechbrain_privacy.augment.chain import Chain
from speechbrain_privacy.augment.noise import PinkNoise, WorseHeard
from speechbrain_privacy.augment.rooms import Reverberation
from speechbrain_privacy.brains.pretraining import PretrainingBrain
from speechbrain_privacy.lobes.bestrq import BestRQ, RandomProjectionQuantizer
from speechbrain_privacy.lobes.hubert import Hubert
from speechbrain_privacy.lobes.multitask import Multitask
from speechbrain_privacy.lobes.wav2vec2 import GumbelQuantizer, Wav2Vec2
from tests.conftest import ROOT
from tests.unit.test_objectives import BINS, Given, network

MASK = [[0, 1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 1, 0, 0]]
LENGTHS = torch.tensor([1.0, 20 / 28])


def bestrq(net):
    return BestRQ(net, RandomProjectionQuantizer(4 * BINS, 64)), {}


def wav2vec2(net):
    return Wav2Vec2(net, GumbelQuantizer(16, 8, n_codes=6), dim=8), {}


def hubert(net):
    codes = torch.randint(1, 6, (2, 7))
    return Hubert(net, 5, dim=8), {"codes": codes}


def multitask(net):
    return Multitask(net, BINS, {"f0": 1.0}), {"targets": torch.randn(2, 28, 1)}


@pytest.mark.parametrize("make", [bestrq, wav2vec2, hubert, multitask])
def test_targets_are_those_of_the_clean_speech(make):
    """Hidden frames are heard by nobody: worse ones change targets alone."""
    torch.manual_seed(0)
    net = network(Given(MASK), "patches")
    objective, given = make(net)
    objective.eval()
    clean = torch.randn(2, 28, BINS)
    worse = clean.clone()
    hidden = torch.tensor(MASK).bool().repeat_interleave(4, dim=1)
    worse[hidden] = torch.randn(int(hidden.sum()), BINS)

    def loss(feats, **more):
        torch.manual_seed(1)
        return float(objective(feats, LENGTHS, **given, **more).loss)

    wanted = loss(clean)
    assert loss(worse, clean=clean) == pytest.approx(wanted, rel=1e-5)
    if make is not hubert:
        assert loss(worse) != pytest.approx(wanted, rel=1e-3)


class Louder(torch.nn.Module):
    def forward(self, wavs, lengths):
        return 3 * wavs


class Shouted(torch.nn.Module):
    def forward(self, wavs, lengths):
        return 1 + wavs


class Quieter(torch.nn.Module):
    def forward(self, wavs):
        return 0.5 * wavs


class Longer(torch.nn.Module):
    def forward(self, wavs, lengths):
        return torch.cat([wavs, wavs], 1)


class Loud(torch.nn.Module):
    """Says that phones begin where it is loud."""

    def forward(self, wavs, lengths):
        return wavs > 1, None


class Listening(torch.nn.Module):
    def forward(self, feats, lengths, begins=None, speech=None, **given):
        self.told = {"feats": feats, "begins": begins, **given}
        raise StopIteration


def listened(augmentation, **settings):
    """What a Brain tells its objective in training."""
    brain = PretrainingBrain(
        modules={
            "features": torch.nn.Identity(),
            "normalize": torch.nn.Identity(),
            "objective": Listening(),
        },
        optimizers={},
        epoch_counter=SimpleNamespace(current=1, limit=1),
        run_opts={"device": "cpu"},
        wav_augment=Augmenter(
            augmentations=[augmentation],
            min_augmentations=1,
            max_augmentations=1,
        ),
        boundaries=Loud(),
        **settings,
    )
    brain._features = lambda wavs, lengths: 10 * wavs
    batch = SimpleNamespace(sig=(torch.ones(2, 5), torch.ones(2)))
    batch.to = lambda device: batch
    brain.step = 0
    with pytest.raises(StopIteration):
        brain.compute_forward(batch, Stage.TRAIN)
    return brain.modules.objective.told


def test_a_brain_hears_worse_speech_and_asks_for_the_clean():
    told = listened(Louder(), clean_targets=True)
    assert float(told["feats"].mean()) == 30.0
    assert float(told["clean"].mean()) == 10.0
    assert not told["begins"].any()  # where phones begin in clean speech
    told = listened(Louder(), clean_targets=True, perturbation=Quieter())
    assert float(told["other"].mean()) == 5.0  # of the clean speech
    told = listened(Louder())
    assert "clean" not in told and told["begins"].all()
    with pytest.raises(ValueError, match="leaves no clean_targets"):
        listened(Longer(), clean_targets=True)


def test_augmenters_in_a_row():
    def always(augmentation, **settings):
        return Augmenter(augmentations=[augmentation], **settings)

    chain = Chain([always(Louder()), None, always(Shouted())])
    wavs, lengths = chain(torch.ones(2, 5), torch.tensor([1.0, 0.4]))
    assert torch.equal(wavs, torch.full((2, 5), 4.0))
    assert lengths.tolist() == [1.0, torch.tensor(0.4).item()]
    twice = always(Louder(), concat_original=True)
    chain = Chain([twice, always(Shouted())])
    wavs, _ = chain(torch.ones(2, 5), torch.ones(2))
    labels = chain.replicate_labels(torch.tensor([[1], [2]]))
    assert wavs[:, 0].tolist() == [2.0, 2.0, 4.0, 4.0]
    assert labels.flatten().tolist() == [1, 2, 1, 2]


def test_reverberation_keeps_timing_level_and_padding():
    torch.manual_seed(0)
    wavs = torch.zeros(3, 16000)
    wavs[:, 4000] = 1.0
    lengths = torch.tensor([1.0, 1.0, 0.5])
    wet = Reverberation((0.5, 0.5), (6.0, 6.0))(wavs, lengths)
    assert (wet[:, :3999].abs() < 1e-5).all()
    assert wet.abs().argmax(1).tolist() == [4000] * 3
    assert torch.allclose(wet.norm(dim=1), wavs.norm(dim=1), atol=1e-5)
    assert (wet[2, 8000:] == 0).all()
    direct = wet[0, 4000].square()
    tail = wet[0, 4001:].square()
    assert float(10 * (direct / tail.sum()).log10()) == pytest.approx(6, abs=1)
    # 60 decibels in half a second are 30 in a quarter.
    first, later = tail[:800].mean(), tail[4000:4800].mean()
    assert float(10 * (first / later).log10()) == pytest.approx(30, abs=2)
    # Rooms differ, and an utterance of silence stays silent.
    assert not torch.allclose(wet[0], wet[1])
    silent = Reverberation()(torch.zeros(1, 900), torch.ones(1))
    assert torch.equal(silent, torch.zeros(1, 900))


def test_pink_noise_is_as_loud_as_it_says_and_as_pink():
    torch.manual_seed(0)
    wavs = torch.randn(3, 64000)
    wavs[1, 16000:] = 0
    wavs[2] = 0
    lengths = torch.tensor([1.0, 0.25, 1.0])
    noise = PinkNoise((10.0, 10.0))(wavs, lengths) - wavs
    # However much it is padded; of silence none.
    for i, n in enumerate((64000, 16000)):
        ratio = wavs[i, :n].norm() / noise[i, :n].norm()
        assert 20 * ratio.log10().item() == pytest.approx(10, abs=0.01)
    assert (noise[1, 16000:] == 0).all() and (noise[2] == 0).all()
    # As much in each octave, and nothing that nobody hears.
    power = torch.fft.rfft(noise[0]).abs().square()
    octaves = [
        power[4 * low : 8 * low].sum()  # lines of a quarter of a hertz
        for low in (100, 200, 400, 800, 1600, 3200)
    ]
    assert max(octaves) < 1.5 * min(octaves)
    assert power[: 4 * 49].sum() < 1e-4 * power.sum()
    drawn = PinkNoise((0.0, 20.0))(torch.ones(64, 8000), torch.ones(64)) - 1
    found = -20 * (drawn.norm(dim=1) / 8000**0.5).log10()
    assert 0 <= found.min() < 4 and 16 < found.max() <= 20
    short = PinkNoise()(torch.ones(1, 5), torch.ones(1))
    assert short.isfinite().all()
    with pytest.raises(ValueError, match="least, most"):
        PinkNoise((5.0, 3.0))


def test_what_is_heard_worse_is_in_a_room_and_in_noise():
    torch.manual_seed(0)
    click = torch.zeros(1, 16000)
    click[0, 2000] = 1.0
    quiet = WorseHeard(snr=(60.0, 60.0))(click, torch.ones(1))
    before, behind = quiet[0, :2000].norm(), quiet[0, 2001:6000].norm()
    assert 0 < before < 0.01 < 0.1 < behind
    loud = WorseHeard(snr=(0.0, 0.0))(click, torch.ones(1))
    assert loud[0, :2000].norm() > 0.1
    # A room of half the sampling rate lasts half as long.
    other = WorseHeard(8000)
    assert (other.room.sample_rate, other.noise.sample_rate) == (8000, 8000)


def test_what_is_no_room():
    with pytest.raises(ValueError, match="positive"):
        Reverberation(seconds=(0.0, 1.0))
    with pytest.raises(ValueError, match="least, most"):
        Reverberation(decibels=(3.0, 1.0))


@pytest.mark.parametrize("kind", ["none", "noise", "reverb", "both"])
def test_kinds_of_the_recipes(kind):
    text = (ROOT / "hparams/augmentation/noise_reverb.yaml").read_text()
    augmenter = load_hyperpyyaml(
        text, {"kind": kind, "probability": 1.0, "snr_low": 10, "snr_high": 10}
    )["augmenter"]
    if kind == "none":
        assert augmenter is None
        return
    torch.manual_seed(0)
    wavs = torch.randn(2, 8000)
    wavs[1, 4000:] = 0
    worse, lengths = augmenter(wavs.clone(), torch.tensor([1.0, 0.5]))
    assert worse.shape == wavs.shape and lengths.tolist() == [1.0, 0.5]
    assert (worse[1, 4000:] == 0).all()
    share = (worse - wavs)[0].norm() / wavs[0].norm()
    assert 0.05 < float(share) < 2.0
