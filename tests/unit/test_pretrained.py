"""Pre-trained encoders, from small ones with random weights on disk."""

import pickle

import numpy
import pytest
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML

from speechbrain_privacy.brains.milestones import Milestones
from speechbrain_privacy.dataio.settings import check_overrides
from speechbrain_privacy.integrations.huggingface import write_tiny
from speechbrain_privacy.lobes.pretrained import PretrainedEncoder
from speechbrain_privacy.lobes.trained import load_encoder
from speechbrain_privacy.nnet.layers import LayerSum, UnpaddedGroupNorm
from speechbrain_privacy.nnet.operations import counted_flops
from tests.conftest import ROOT

KINDS = ("wav2vec2", "hubert", "wavlm")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Kind and norm -> folder."""
    folders = {}

    def make(kind="hubert", norm="group", **sizes):
        key = (kind, norm, *sorted(sizes.items()))
        if key not in folders:
            folders[key] = str(tmp_path_factory.mktemp(f"{kind}-{norm}"))
            write_tiny(folders[key], kind, feat_extract_norm=norm, **sizes)
        return folders[key]

    return make


def batch(seed=0):
    draw = torch.Generator().manual_seed(seed)
    wavs = 3.0 + torch.randn(3, 9000, generator=draw)
    return wavs, torch.tensor([1.0, 0.63, 0.3]), (9000, 5670, 2700)


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("output", ["last", "weighted", 1])
def test_an_utterance_is_the_same_alone_and_in_a_batch(
    tiny, kind, norm, output
):
    encoder = PretrainedEncoder(tiny(kind, norm), output=output).eval()
    wavs, lengths, samples = batch()
    # What lies in the padding is nobody's business.
    hidden, there = encoder(wavs, lengths)
    for i, n in enumerate(samples):
        alone, whole = encoder(wavs[i : i + 1, :n], torch.ones(1))
        count = round(float(there[i]) * hidden.shape[1])
        assert alone.shape[1] == count and float(whole) == 1.0
        assert (hidden[i, :count] - alone[0]).abs().max() < 3e-5


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_utterance_is_what_the_model_itself_makes_of_it(tiny, kind, norm):
    from transformers import AutoModel

    folder = tiny(kind, norm)
    encoder = PretrainedEncoder(folder).eval()
    wavs, _, _ = batch()
    given = wavs[:1]
    if norm == "layer":  # as its feature extractor says
        given = (given - given.mean()) / (
            given.var(unbiased=False) + 1e-5
        ) ** 0.5
    with torch.no_grad():
        wanted = AutoModel.from_pretrained(folder).eval()(given)
    assert encoder.normalize == (norm == "layer")
    hidden, _ = encoder(wavs[:1], torch.ones(1))
    assert (hidden - wanted.last_hidden_state).abs().max() < 1e-4


def test_layers_are_where_taps_find_them(tiny):
    encoder = PretrainedEncoder(tiny(num_layers=3), output="weighted").eval()
    seen = {}
    for i, layer in enumerate(encoder.layers):
        layer.register_forward_hook(lambda m, x, y, i=i: seen.update({i: y}))
    with torch.no_grad():
        encoder.sum.scores.copy_(torch.tensor([0.0, 0.0, 50.0, 0.0]))
    wavs, lengths, _ = batch()
    hidden, _ = encoder(wavs, lengths)
    assert len(seen) == 4
    assert torch.allclose(hidden, seen[2], atol=1e-6)


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_output_of_a_layer_is_what_taps_find_there(tiny, kind, norm):
    folder = tiny(kind, norm, num_layers=3)
    whole, seen = PretrainedEncoder(folder).eval(), {}
    for i, layer in enumerate(whole.layers):
        layer.register_forward_hook(lambda m, x, y, i=i: seen.update({i: y}))
    wavs, lengths, _ = batch()
    whole(wavs, lengths)
    for output in (1, 2, 3):
        lower = PretrainedEncoder(folder, output=output).eval()
        assert len(lower.model.encoder.layers) == output
        assert len(lower.layers) == output + 1
        hidden, _ = lower(wavs, lengths)
        assert torch.allclose(hidden, seen[output], atol=2e-5), output


def trained(encoder):
    wavs, lengths, _ = batch()
    encoder.train()
    encoder(wavs, lengths)[0].square().mean().backward()
    return {n for n, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_everything_that_may_learn_does(tiny, kind, checkpointing):
    """A parameter without a gradient would stop DistributedDataParallel."""
    encoder = PretrainedEncoder(
        tiny(kind, "layer"),
        freeze_feature_extractor=False,
        output="weighted",
        gradient_checkpointing=checkpointing,
    )
    wanted = {n for n, p in encoder.named_parameters() if p.requires_grad}
    assert trained(encoder) == wanted
    assert any("feature_extractor" in name for name in wanted)


def test_gradient_checkpointing_changes_no_gradient(tiny):
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        encoder = PretrainedEncoder(
            tiny(), gradient_checkpointing=checkpointing
        )
        trained(encoder)
        grads.append(
            encoder.model.encoder.layers[0].final_layer_norm.weight.grad
        )
    assert torch.allclose(*grads, atol=1e-7)


def test_convolutions_stay_unless_told_otherwise(tiny):
    learnt = trained(PretrainedEncoder(tiny()))
    assert learnt and not any("feature_extractor" in n for n in learnt)


@pytest.mark.parametrize("kind", KINDS)
def test_with_lora_adapters_alone_learn(tiny, kind):
    encoder = PretrainedEncoder(tiny(kind), lora={"rank": 2})
    learnt = trained(encoder)
    assert learnt and all("adapter" in name for name in learnt)
    # It begins as the model it adapts.
    plain = PretrainedEncoder(tiny(kind)).eval()
    wavs, lengths, _ = batch()
    assert torch.allclose(
        encoder.eval()(wavs, lengths)[0], plain(wavs, lengths)[0], atol=1e-6
    )


def test_lora_that_fits_nothing_is_refused(tiny):
    with pytest.raises(ValueError, match="no layer .* is called"):
        PretrainedEncoder(tiny(), lora={"target_layers": ["nowhere.*"]})


def test_frozen_is_frozen_but_the_sum_of_layers(tiny):
    encoder = PretrainedEncoder(tiny(), freeze=True, output="weighted")
    assert trained(encoder) == {"sum.scores"}
    wavs, lengths, _ = batch()
    # No dropout either, in training.
    assert torch.equal(encoder(wavs, lengths)[0], encoder(wavs, lengths)[0])


def test_lower_layers_learn_more_slowly(tiny):
    encoder = PretrainedEncoder(
        tiny(num_layers=3), output="weighted", lr_factor=0.2, lr_decay=0.5
    )
    found = {}
    for factor, parameters in encoder.lr_factors():
        found.update({id(p): factor for p in parameters})
    names = dict(encoder.named_parameters())
    wanted = {
        "sum.scores": 1.0,
        "model.encoder.layers.2.attention.k_proj.weight": 0.2,
        "model.encoder.layers.0.attention.k_proj.weight": 0.05,
        "model.feature_projection.projection.weight": 0.025,
    }
    for name, factor in wanted.items():
        assert found[id(names[name])] == pytest.approx(factor), name
    assert len(found) == sum(p.requires_grad for p in names.values())


def test_a_norm_above_all_layers_learns_as_the_highest(tiny):
    for norm, wanted in (("layer", 0.2), ("group", 0.05)):
        encoder = PretrainedEncoder(
            tiny("hubert", norm), lr_factor=0.2, lr_decay=0.5
        )
        found = {
            id(p): factor for factor, some in encoder.lr_factors() for p in some
        }
        weight = encoder.model.encoder.layer_norm.weight
        assert found[id(weight)] == pytest.approx(wanted)


def test_another_source_is_not_taken_for_the_first(tiny, tmp_path):
    path = tmp_path / "encoder.ckpt"
    PretrainedEncoder(tiny(), freeze=True).save(path)
    PretrainedEncoder(tiny(), freeze=True).load(path)
    write_tiny(tmp_path / "other", "hubert", seed=1)
    with pytest.raises(ValueError, match="began with other weights"):
        PretrainedEncoder(str(tmp_path / "other"), freeze=True).load(path)


def test_rates_must_make_sense(tiny):
    for given in ({"lr_factor": -1.0}, {"lr_decay": 2.0}, {"lr_decay": 0.0}):
        with pytest.raises(ValueError, match="lr_factor is above 0"):
            PretrainedEncoder(tiny(), **given)


def test_spans_are_hidden_where_they_fit(tiny, tmp_path):
    write_tiny(tmp_path, "hubert", dropout=0.0, mask_time_length=10)
    encoder = PretrainedEncoder(
        str(tmp_path), spec_augment=True, freeze_feature_extractor=False
    ).train()
    wavs = torch.randn(2, 16000)
    torch.manual_seed(0)
    numpy.random.seed(0)
    one = encoder(wavs, torch.ones(2))[0]
    assert not torch.equal(one, encoder(wavs, torch.ones(2))[0])
    short = wavs[:, :3200]  # nine frames
    one = encoder(short, torch.ones(2))[0]
    assert torch.equal(one, encoder(short, torch.ones(2))[0])
    assert encoder.model.masked_spec_embed.requires_grad
    # Channels alone are hidden: nothing stands in for a frame.
    write_tiny(
        tmp_path / "b", "hubert", mask_time_prob=0.0, mask_feature_prob=0.1
    )
    encoder = PretrainedEncoder(str(tmp_path / "b"), spec_augment=True)
    assert not encoder.model.masked_spec_embed.requires_grad


def test_another_rate_and_no_model_are_named(tiny, tmp_path):
    with pytest.raises(ValueError, match="hears 16000 .* says 8000"):
        PretrainedEncoder(tiny(), sample_rate=8000)
    with pytest.raises(ValueError, match="has 32 channels; d_model says 768"):
        PretrainedEncoder(tiny(), d_model=768)
    with pytest.raises(ValueError, match="source 'nowhere/at/all' is no fold"):
        PretrainedEncoder("nowhere/at/all")


def test_attention_is_counted(tiny):
    counts = []
    wavs, lengths, _ = batch()
    for kind in ("sdpa", "eager"):
        encoder = PretrainedEncoder(tiny("hubert"))
        encoder.model.set_attn_implementation(kind)
        with counted_flops(counts):
            encoder(wavs, lengths)[0].sum().backward()
    assert counts[0] == pytest.approx(counts[1], rel=0.1)


def test_what_is_learnt_is_saved_and_no_more(tiny, tmp_path):
    path = tmp_path / "encoder.ckpt"
    one = PretrainedEncoder(tiny(), lora={"rank": 2}, output="weighted")
    with torch.no_grad():
        for parameter in one.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    one.save(path)
    assert path.stat().st_size < 20_000
    two = PretrainedEncoder(tiny(), lora={"rank": 2}, output="weighted")
    two.load(path)
    wavs, lengths, _ = batch()
    one.eval(), two.eval()
    assert torch.equal(one(wavs, lengths)[0], two(wavs, lengths)[0])
    with pytest.raises(ValueError, match="of other settings"):
        PretrainedEncoder(tiny()).load(path)


class Malicious:
    def __reduce__(self):
        return eval, ("open('unpickled', 'w').close()",)


def test_no_code_of_a_checkpoint_or_a_model_runs(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"sum.scores": Malicious()}, "encoder.ckpt")
    encoder = PretrainedEncoder(tiny(), freeze=True, output="weighted")
    with pytest.raises(pickle.UnpicklingError):
        encoder.load("encoder.ckpt")
    write_tiny(tmp_path / "model", "hubert")
    (tmp_path / "model/model.safetensors").unlink()
    torch.save({"weight": Malicious()}, tmp_path / "model/pytorch_model.bin")
    with pytest.raises((pickle.UnpicklingError, OSError, ValueError)):
        PretrainedEncoder(str(tmp_path / "model"))
    assert not (tmp_path / "unpickled").exists()


def test_a_batch_shorter_than_a_frame_is_named(tiny):
    encoder = PretrainedEncoder(tiny())
    with pytest.raises(ValueError, match="399 samples.*needs 400"):
        encoder(torch.rand(1, 399), torch.ones(1))
    assert encoder(torch.rand(1, 400), torch.ones(1))[0].shape[1] == 1
    # A short one beside a long one has one frame.
    _, lengths = encoder(torch.rand(2, 4000), torch.tensor([1.0, 0.01]))
    assert float(lengths[1]) == pytest.approx(1 / 12)


def test_frames_lie_where_the_convolutions_look(tiny):
    step, first = PretrainedEncoder(tiny()).grid
    assert (step, first) == (0.02, 0.0125)


def test_unknown_outputs_and_kinds_are_refused(tiny, tmp_path):
    for output in ("first", 0, 3):
        with pytest.raises(ValueError, match="a layer from 1 to 2"):
            PretrainedEncoder(tiny(), output=output)
    with pytest.raises(ValueError, match="wav2vec2, hubert, wavlm"):
        write_tiny(tmp_path, "whisper")
    with pytest.raises(ValueError, match="single channels"):
        UnpaddedGroupNorm(torch.nn.GroupNorm(2, 4))


def test_the_sum_of_layers_has_weights_that_sum_to_one():
    some = LayerSum(3)
    with torch.no_grad():
        some.scores.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert float(some.weights.sum()) == pytest.approx(1.0)
    layers = [torch.full((1, 1, 1), float(i)) for i in range(3)]
    wanted = float((some.weights * torch.arange(3.0)).sum())
    assert float(some(layers)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "option",
    [
        "lora: {rank: 2}",
        "output: weighted",
        "output: 1",
        "freeze: true",
        "freeze_feature_extractor: false",
        "gradient_checkpointing: true",
        "spec_augment: false",
    ],
)
def test_every_option_of_the_recipe_can_be_given(tiny, option):
    path = ROOT / "recipes/AN4/ASR/CTC/hparams/pretrained_adversarial.yaml"
    given = (
        "data_folder: x\nlayer: 1\n"
        f"model: {{source: {tiny()}, d_model: 32, {option}}}\n"
    )
    with open(path) as file:
        hparams = load_hyperpyyaml(file, given)
    encoder = hparams["modules"]["encoder"]
    assert encoder.output_size == hparams["head"].in_features == 32
    check_overrides(path, given)


def test_a_part_of_common_voice_can_be_asked_for():
    path = ROOT / "recipes/CommonVoice/ASR/CTC/hparams/pretrained.yaml"
    given = "data_folder: x\nmost_utterances: {test: 40}\n"
    with open(path) as file:
        text = resolve_references(file, given).read()
    assert YAML().load(text)["prepare"]["most_utterances"] == {"test": 40}


def test_less_than_a_frame_beside_more(tiny):
    """Its only frame does not hear what follows, but padding."""
    encoder = PretrainedEncoder(tiny()).eval()
    wavs = torch.zeros(2, 8000)
    wavs[0], wavs[1, :40] = torch.randn(8000), torch.randn(40)
    both, lengths = encoder(wavs, torch.tensor([1.0, 40 / 8000]))
    alone, _ = encoder(wavs[1:, :400], torch.tensor([40 / 400]))
    assert (lengths * both.shape[1]).round().tolist() == [24, 1]
    assert torch.allclose(both[1, :1], alone[0], atol=1e-5)


def test_checkpoints_and_milestones_are_told_apart(tiny, tmp_path):
    learnt = PretrainedEncoder(tiny())
    with torch.no_grad():
        for weights in learnt.parameters():
            weights.mul_(1.1 if weights.requires_grad else 1.0)
    learnt.save(tmp_path / "encoder.ckpt")
    Milestones(tmp_path, [3]).keep(3, learnt, {"flops": 1.0})
    for name in ("encoder.ckpt", "epoch-0003.ckpt"):
        other = PretrainedEncoder(tiny())
        load_encoder(other, tmp_path / name)
        for one, its in zip(learnt.parameters(), other.parameters()):
            assert torch.equal(one, its)
    with pytest.raises(FileNotFoundError, match="there are no weights"):
        load_encoder(other, tmp_path / "absent.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(ValueError, match="text.ckpt holds"):
        load_encoder(other, tmp_path / "text.ckpt")
