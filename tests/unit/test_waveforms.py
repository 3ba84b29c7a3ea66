"""Models of waveforms that are pre-trained: what is hidden stays hidden."""

import json

import numpy as np
import pytest
import torch

from speechbrain_privacy.audit.units import cepstral_frames
from speechbrain_privacy.integrations.huggingface import write_tiny
from speechbrain_privacy.lobes.hubert import Hubert
from speechbrain_privacy.lobes.pretrained import PretrainedEncoder
from speechbrain_privacy.lobes.waveforms import MaskedWaveforms
from speechbrain_privacy.masking.policies import FixedSpans

KINDS = ("wav2vec2", "hubert", "wavlm")


def encoder(folder, kind="hubert", **options):
    if not (folder / "config.json").exists():
        write_tiny(folder, kind, hidden_size=16, feat_extract_norm="layer")
    options = {"spec_augment": True, **options}
    return PretrainedEncoder(
        str(folder), freeze_feature_extractor=False, **options
    )


class Given:
    """Hides what it is told to."""

    def __init__(self, mask):
        self.mask = mask

    def __call__(self, counts, begins=None, speech=None, generator=None):
        self.heard = counts, begins, speech
        return self.mask


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_hidden_reaches_nothing(tmp_path, kind):
    mask = torch.zeros(1, 24, dtype=torch.bool)
    mask[0, 8:16] = True
    net = MaskedWaveforms(encoder(tmp_path, kind), Given(mask)).eval()
    # Else each sample tells something of the mean of all.
    net.encoder.normalize = False
    wavs = torch.randn(1, 8000, requires_grad=True)
    out = net(wavs, torch.ones(1))
    assert torch.equal(out.mask, mask) and out.guess.shape == (1, 24, 16)
    out.guess.square().sum().backward()
    felt = wavs.grad[0].abs() > 0
    # Frame i hears samples 320 i to 320 i + 399.
    assert not felt[320 * 8 + 80 : 320 * 16].any()
    assert felt[: 320 * 8 - 80].float().mean() > 0.9
    assert net.encoder.model.masked_spec_embed.grad.abs().sum() > 0


def test_nothing_is_hidden_from_what_is_only_encoded(tmp_path):
    net = MaskedWaveforms(encoder(tmp_path), FixedSpans(0.5, 2)).eval()
    wavs, lengths = torch.randn(2, 8000), torch.tensor([1.0, 0.5])
    once, _ = net.encoder(wavs, lengths)
    net(wavs, lengths)
    again, _ = net.encoder(wavs, lengths)
    assert torch.equal(once, again)


def test_clips_of_a_frame_and_shorter(tmp_path):
    net = MaskedWaveforms(encoder(tmp_path), FixedSpans(0.9, 2)).eval()
    out = net(torch.randn(2, 400), torch.tensor([1.0, 0.1]))
    assert out.guess.shape == (2, 1, 16) and out.mask.all()
    with pytest.raises(ValueError, match="399 samples, .* frame needs 400"):
        net(torch.randn(2, 399), torch.ones(2))


def test_boundaries_and_speech_are_heard_at_the_frames_rate(tmp_path):
    policy = Given(torch.zeros(1, 24, dtype=torch.bool))
    net = MaskedWaveforms(encoder(tmp_path), policy)
    begins = torch.zeros(1, 51, dtype=torch.bool)
    # Frame i begins 2.5 + 20 i ms after the utterance, heard to the nearest.
    begins[0, [4, 9, 40]] = True
    speech = torch.zeros(1, 51, dtype=torch.bool)
    speech[0, 10:30] = True
    net(torch.randn(1, 8000), torch.ones(1), begins, speech)
    counts, at, spoken = policy.heard
    assert counts.tolist() == [24]
    assert at[0].nonzero().squeeze(1).tolist() == [2, 4, 20]
    # Frame i is heard around 12.5 + 20 i ms.
    assert spoken[0].nonzero().squeeze(1).tolist() == [*range(5, 15)]


def test_it_learns_the_units_of_what_it_cannot_hear(tmp_path):
    torch.manual_seed(0)
    net = MaskedWaveforms(encoder(tmp_path), FixedSpans(0.5, span=4))
    objective = Hubert(net, 4, dim=16, visible_weight=0.5)
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    # One pitch for an utterance: what is hidden sounds like the rest.
    time = torch.arange(8000) / 16000
    pitch = torch.tensor([200.0, 500.0, 1100.0, 2300.0])
    wavs = torch.sin(2 * torch.pi * pitch[:, None] * time)
    codes = 1 + torch.arange(4)[:, None].repeat(1, 24)
    losses = []
    for _ in range(40):
        out = objective(wavs, torch.ones(4), codes=codes)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(float(out.loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert float(out.correct) / out.count > 0.8


@pytest.mark.parametrize(
    "options",
    [{"freeze": True}, {"spec_augment": False}, {"lora": {"rank": 2}}],
)
def test_a_model_that_nothing_can_be_hidden_from_is_refused(tmp_path, options):
    with pytest.raises(ValueError, match="nothing can be hidden"):
        MaskedWaveforms(encoder(tmp_path, **options), FixedSpans(0.5))


@pytest.mark.parametrize(
    "shape, n_frames, first",
    [
        ({}, 49, 1.5),  # around 12.5 ms: between 10 and 20
        # Around 21.6 ms: between 20 and 30.
        ({"conv_kernel": (20, 8, 4, 4), "conv_stride": (10, 4, 4, 2)}, 48, 2.5),
    ],
)
def test_units_lie_where_the_convolutions_hear(
    tmp_path, shape, n_frames, first
):
    write_tiny(tmp_path, "hubert", hidden_size=16, **shape)
    model = PretrainedEncoder(str(tmp_path))

    def cepstra(wavs):
        n = wavs.shape[1] // 160 + 1
        return torch.arange(n, dtype=torch.float32)[None, :, None]

    data = [{"id": "u", "sig": torch.zeros(16000)}]
    ((_, frames),) = cepstral_frames(data, cepstra, encoder=model)
    assert np.array_equal(frames[:, 0], first + 2 * np.arange(n_frames))
    assert model(torch.zeros(1, 16000), torch.ones(1))[0].shape[1] == n_frames


@pytest.mark.parametrize("output", [1, "weighted"])
def test_a_model_that_is_cut_or_summed_is_refused(tmp_path, output):
    with pytest.raises(ValueError, match="with all its layers"):
        MaskedWaveforms(encoder(tmp_path, output=output), FixedSpans(0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_guessed_as_if_it_were_alone(tmp_path, kind):
    write_tiny(tmp_path, kind, hidden_size=16)
    model = PretrainedEncoder(str(tmp_path), spec_augment=True)
    mask = torch.zeros(2, 24, dtype=torch.bool)
    mask[:, 3:9] = True
    wavs = torch.randn(2, 8000)
    net = MaskedWaveforms(model, Given(mask)).eval()
    out = net(wavs, torch.tensor([1.0, 0.5]))
    net.policy = Given(mask[1:, :12])
    alone = net(wavs[1:, :4000], torch.ones(1))
    n = int(alone.counts[0])
    assert n == int(out.counts[1]) == 12
    assert (out.guess[1, :n] - alone.guess[0]).abs().max() < 1e-5


def test_other_rates_are_named(tmp_path):
    net = MaskedWaveforms(encoder(tmp_path), FixedSpans(0.5))
    begins = torch.zeros(1, 26, dtype=torch.bool)
    with pytest.raises(ValueError, match="26 frames of boundaries beside 51"):
        net(torch.randn(1, 8000), torch.ones(1), begins)
    write_tiny(
        tmp_path / "b", "hubert", 16, conv_kernel=(10,), conv_stride=(40,)
    )
    odd = PretrainedEncoder(str(tmp_path / "b"), spec_augment=True)
    with pytest.raises(ValueError, match="frames of this model are 2.5 ms"):
        MaskedWaveforms(odd, FixedSpans(0.5))(
            torch.randn(1, 800), torch.ones(1)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_as_any_source(tmp_path, kind):
    net = encoder(tmp_path / "a", kind).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    net(torch.randn(1, 8000), torch.ones(1))
    net.write(tmp_path / "b")
    read = PretrainedEncoder(str(tmp_path / "b")).eval()
    config = json.loads((tmp_path / "b/config.json").read_text())
    assert config["apply_spec_augment"] is True
    assert config["layerdrop"] == 0.1
    wavs = torch.randn(1, 8000)
    ours, theirs = (x(wavs, torch.ones(1))[0] for x in (net, read))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_become_part_of_what_they_adapt(tmp_path, kind):
    net = encoder(tmp_path / "a", kind, lora={"rank": 2, "alpha": 8.0}).eval()
    plain = encoder(tmp_path / "a", kind).eval()
    adapters = [x for n, x in net.named_parameters() if "adapter_up" in n]
    with torch.no_grad():
        for weight in adapters:
            weight.normal_()
    net.write(tmp_path / "b")
    read = PretrainedEncoder(str(tmp_path / "b")).eval()
    wavs = torch.randn(1, 8000)
    ours, theirs, before = (
        x(wavs, torch.ones(1))[0] for x in (net, read, plain)
    )
    assert adapters and (ours - theirs).abs().max() < 1e-4
    assert (ours - before).abs().max() > 1e-2


def test_adapters_of_convolutions_are_not_written(tmp_path):
    lora = {"rank": 2, "target_layers": ["feature_extractor.*.conv"]}
    net = encoder(tmp_path, lora=lora)
    with pytest.raises(ValueError, match="conv has an adapter and is not lin"):
        net.write(tmp_path / "b")


def test_what_is_not_whole_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="all its layers can be written"):
        encoder(tmp_path, output=1).write(tmp_path / "b")
    assert not (tmp_path / "b").exists()
