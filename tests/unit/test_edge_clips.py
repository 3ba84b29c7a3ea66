"""The shortest clips, silence, and nothing left to hear: every objective."""

import pytest
import torch
from speechbrain.lobes.features import Fbank
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.repro import SaveableGenerator

from speechbrain_privacy.lobes.conformer import ConformerLobe
from speechbrain_privacy.lobes.frontends import extract
from speechbrain_privacy.lobes.objectives import MaskedEncoder
from speechbrain_privacy.lobes.spin import Spin, TopLayers
from speechbrain_privacy.masking.policies import FixedSpans, Segments
from tests.unit.test_objectives import BINS, Given, network
from tests.unit.test_robustness import bestrq, hubert, multitask, wav2vec2

OBJECTIVES = [bestrq, wav2vec2, hubert, multitask]
#: Samples of clips, and what is in them.
CLIPS = {
    "one sample": ([1], torch.rand),
    "less than a frame": ([100, 159], torch.rand),
    "one frame beside many": ([100, 16000], torch.rand),
    "silence": ([16000, 4000], torch.zeros),
    "short silence": ([100], torch.zeros),
}


def features_of(clip):
    """Padded features of clips, and their relative lengths."""
    counts, make = CLIPS[clip]
    wavs = torch.zeros(len(counts), max(counts))
    for row, n in zip(wavs, counts, strict=True):
        row[:n] = make(n)
    lengths = torch.tensor(counts) / max(counts)
    return extract(Fbank(n_mels=BINS), wavs, lengths)


def given_for(make, feats):
    """Targets of the objective, for so many frames."""
    slow = -(-feats.shape[1] // 4)
    return {
        hubert: {"codes": torch.randint(1, 6, (len(feats), slow))},
        multitask: {"targets": torch.randn(*feats.shape[:2], 1)},
    }.get(make, {})


def learns(objective, feats, lengths, **given):
    """The output, once its loss and all gradients are finite."""
    out = objective.train()(feats, lengths, **given)
    assert torch.isfinite(out.loss) and torch.isfinite(out.hidden).all()
    out.loss.backward()  # has a graph, whatever was hidden
    for parameter in objective.parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all()
    return out


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("visible_only", [False, True])
@pytest.mark.parametrize("make", OBJECTIVES)
def test_clips_at_the_edge(make, visible_only, clip):
    torch.manual_seed(0)
    feats, lengths = features_of(clip)
    net = network(FixedSpans(0.5, span=2), visible_only=visible_only)
    objective, _ = make(net)
    out = learns(objective, feats, lengths, **given_for(make, feats))
    frames = (lengths * feats.shape[1]).round()
    frames = ((frames + 3) // 4).long()
    # Half of 1 frame is none: nothing is asked of it.
    assert out.count == int((0.5 * frames).round().sum())
    if out.count == 0 and make is not wav2vec2:  # whose codes must differ
        assert float(out.loss.detach()) == 0.0


@pytest.mark.parametrize("visible_only", [False, True])
@pytest.mark.parametrize("make", OBJECTIVES)
@pytest.mark.parametrize("n_frames", [1, 3])
def test_everything_hidden(make, visible_only, n_frames):
    torch.manual_seed(0)
    feats = torch.randn(2, 4 * n_frames, BINS)
    net = network(Given([[1] * n_frames] * 2), visible_only=visible_only)
    objective, _ = make(net)
    given = given_for(make, feats)
    out = learns(objective, feats, torch.ones(2), **given)
    if make is wav2vec2 and n_frames == 1:
        # A frame without others has nothing to be told from.
        assert out.count == 0
    else:
        assert out.count == 2 * n_frames and out.loss > 0


@pytest.mark.parametrize("clip", CLIPS)
def test_spin_at_the_edge(clip):
    torch.manual_seed(0)
    feats, lengths = features_of(clip)
    lobe = ConformerLobe(BINS, d_model=16, num_layers=2, d_ffn=16)
    objective = Spin(TopLayers(lobe, 1), n_codes=4, dim=8)
    out = learns(objective, feats, lengths, other=feats)
    assert out.count == int(out.lengths.mul(out.hidden.shape[1]).round().sum())


def test_where_nobody_speaks():
    counts = torch.tensor([40, 7])
    begins = torch.zeros(2, 40, dtype=torch.bool)
    begins[:, ::3] = True
    silent = torch.zeros(2, 40, dtype=torch.bool)
    hidden = Segments(0.5, silence=0.2)(counts, begins, silent)
    assert hidden.sum(1).tolist() == [20, 4]


def test_masks_come_from_the_generator_that_is_given():
    lobe = ConformerLobe(BINS, d_model=16, num_layers=1, d_ffn=16)
    lobe = lobe.eval()
    generator = torch.Generator().manual_seed(3)
    net = MaskedEncoder(lobe, FixedSpans(0.5, 2), generator=generator)
    feats, state = torch.randn(2, 80, BINS), generator.get_state()
    torch.manual_seed(0)
    first, second = (net(feats, torch.ones(2)).mask for _ in range(2))
    assert not torch.equal(first, second)
    generator.set_state(state)
    torch.manual_seed(1)
    assert torch.equal(net(feats, torch.ones(2)).mask, first)


def test_the_generator_of_masks_resumes_with_a_checkpoint(tmp_path):
    counts, generator = torch.tensor([200, 90]), torch.Generator()
    saved = {"masks": SaveableGenerator({"masks": generator})}
    saver = Checkpointer(tmp_path, recoverables=saved)
    FixedSpans()(counts, generator=generator)
    saver.save_checkpoint()
    first = FixedSpans()(counts, generator=generator)
    assert not torch.equal(FixedSpans()(counts, generator=generator), first)
    saver.recover_if_possible()
    assert torch.equal(FixedSpans()(counts, generator=generator), first)
