"""Self-supervised objectives: what is hidden stays hidden."""

import math

import pytest
import torch
from speechbrain.nnet.quantisers import (
    RandomProjectionQuantizer as SpeechBrainQuantizer,
)

from speechbrain_privacy.lobes.bestrq import BestRQ, RandomProjectionQuantizer
from speechbrain_privacy.lobes.conformer import ConformerLobe
from speechbrain_privacy.lobes.frontends import (
    ConvolvedPatches,
    Patches,
    patched,
)
from speechbrain_privacy.lobes.objectives import LightDecoder, MaskedEncoder
from speechbrain_privacy.masking.policies import FixedSpans, Segments
from speechbrain_privacy.nnet.pooling import frames_mask

BINS = 20


class Given:
    """A policy that hides what it is told to."""

    def __init__(self, mask):
        self.mask = torch.tensor(mask).bool()

    def __call__(self, counts, begins=None, speech=None, generator=None):
        return self.mask


def network(policy, frontend="patches", visible_only=False, masks=1):
    lobe = ConformerLobe(
        BINS,
        d_model=16,
        num_layers=2,
        d_ffn=32,
        kernel_size=5,
        frontend=frontend,
        places=visible_only,
    )
    decoder = LightDecoder(16, channels=8, groups=2) if visible_only else None
    return MaskedEncoder(lobe, policy, decoder, masks).eval()


MODES = [
    ("convolution", False),
    ("convolution", True),
    ("patches", False),
    ("patches", True),
    ("convolved_patches", True),
]


@pytest.mark.parametrize(("frontend", "visible_only"), MODES)
def test_an_utterance_alone_and_in_a_padded_batch(
    frontend, visible_only, monkeypatch
):
    # The noise that replaces features must not differ between the two.
    monkeypatch.setattr("speechbrain_privacy.lobes.objectives.NOISE", 0.0)
    mask = [[0, 1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0, 0]]
    feats = torch.randn(2, 27, BINS)
    feats[1, 18:] = 7.0
    net = network(Given(mask), frontend, visible_only)
    both = net(feats, torch.tensor([1.0, 18 / 27]))
    net.policy = Given([mask[1][:5]])
    alone = net(feats[1:, :18], torch.ones(1))
    n = int(alone.hidden_counts)
    assert n == int(both.hidden_counts[1]) == (3 if visible_only else 5)
    assert torch.allclose(both.hidden[1, :n], alone.hidden[0, :n], atol=1e-5)
    assert torch.allclose(both.guess[1, :5], alone.guess[0, :5], atol=1e-5)


@pytest.mark.parametrize("last", [1, 2, 3])
def test_codes_know_nothing_of_padding(last):
    """The last code stands for fewer frames than the others."""
    feats = torch.randn(2, 28, BINS)
    n_frames = 16 + last
    hide_last = [[0, 0, 0, 0, 1, 0, 0]] * 2
    net = network(Given(hide_last))
    objective = BestRQ(net, RandomProjectionQuantizer(4 * BINS, 64)).eval()
    asked = []
    objective.quantizer.register_forward_hook(
        lambda module, given, out: asked.append(out.flatten())
    )
    objective(feats, torch.tensor([1.0, n_frames / 28]))
    net.policy = Given([hide_last[0][:5]])
    objective(feats[1:, :n_frames], torch.ones(1))
    assert asked[0][1] == asked[1][0]


@pytest.mark.parametrize(("frontend", "visible_only"), MODES)
def test_without_a_mask_it_is_the_encoder(frontend, visible_only):
    """What is pre-trained is what is used."""
    net = network(Given([[0] * 7, [0] * 7]), frontend, visible_only)
    feats, lengths = torch.randn(2, 27, BINS), torch.tensor([1.0, 0.6])
    hidden, _ = net.encoder(feats, lengths)
    found = net(feats, lengths)
    for row, n in enumerate(found.hidden_counts):
        assert torch.allclose(hidden[row, :n], found.hidden[row, :n], atol=1e-5)


@pytest.mark.parametrize(("frontend", "visible_only"), MODES)
def test_every_parameter_learns(frontend, visible_only):
    """One that does not would stop distributed training."""
    net = network(FixedSpans(0.5, 2), frontend, visible_only).train()
    objective = BestRQ(net, RandomProjectionQuantizer(4 * BINS, 16))
    objective(torch.randn(2, 40, BINS), torch.ones(2)).loss.backward()
    missing = [n for n, p in objective.named_parameters() if p.grad is None]
    assert not missing


@pytest.mark.parametrize(("frontend", "visible_only"), MODES)
def test_what_is_hidden_is_not_seen(frontend, visible_only):
    mask = [[0, 1, 1, 0, 0, 1, 0]]
    net = network(Given(mask), frontend, visible_only)
    feats = torch.randn(1, 28, BINS)
    other = feats.clone()
    hidden = torch.tensor(mask).bool().repeat_interleave(4, dim=1)
    other[hidden] = 5.0
    guesses = []
    for x in (feats, other):
        torch.manual_seed(0)
        guesses.append(net(x, torch.ones(1)).guess)
    assert torch.allclose(*guesses, atol=1e-6)
    other[0, 0] = 5.0
    torch.manual_seed(0)
    assert not torch.allclose(guesses[0], net(other, torch.ones(1)).guess)


def test_only_what_is_visible_is_encoded():
    net = network(FixedSpans(0.6, 3), visible_only=True)
    out = net(torch.randn(2, 80, BINS), torch.tensor([1.0, 0.5]))
    assert out.hidden.shape[1] == 8
    assert out.hidden_counts.tolist() == [8, 4]
    assert out.mask.sum(1).tolist() == [12, 6]
    # A visible frame is the same wherever its neighbours are hidden, but
    # knows its place: the same frames, elsewhere, are encoded otherwise.
    feats = torch.randn(1, 1, BINS).expand(1, 28, BINS)
    first = network(Given([[0, 0, 1, 1, 1, 1, 1]]), visible_only=True)
    a = first(feats, torch.ones(1)).hidden
    first.policy = Given([[1, 1, 1, 1, 1, 0, 0]])
    assert not torch.allclose(a, first(feats, torch.ones(1)).hidden)


def test_several_masks_share_the_front_end():
    net = network(FixedSpans(0.5, 2), visible_only=True, masks=3)
    calls = []
    net.encoder.subsampling.register_forward_hook(
        lambda module, given, out: calls.append(len(given[0]))
    )
    out = net(torch.randn(2, 40, BINS), torch.tensor([1.0, 0.5]))
    assert calls == [2]
    assert out.mask.shape == (6, 10)
    assert out.counts.tolist() == [10, 10, 10, 5, 5, 5]
    assert not torch.equal(out.mask[0], out.mask[1])


def test_policies_that_listen_are_told():
    told = {}

    def policy(counts, begins, speech, generator):
        told.update(counts=counts, begins=begins, speech=speech)
        return torch.zeros(len(counts), int(counts.max()), dtype=torch.bool)

    begins = torch.zeros(1, 19, dtype=torch.bool)
    begins[0, [5, 10]] = True
    speech = torch.arange(19).unsqueeze(0) >= 8
    net = network(policy)
    net(torch.randn(1, 18, BINS), torch.ones(1), begins, speech)
    assert told["counts"].tolist() == [5]
    assert told["begins"][0].tolist() == [False, True, False, True, False]
    assert told["speech"][0].tolist() == [False, False, True, True, True]


def test_nearest_code_as_by_distance_and_as_speechbrains():
    ours = RandomProjectionQuantizer(12, n_codes=40, code_size=6)
    x = torch.randn(3, 7, 12)
    theirs = SpeechBrainQuantizer(12, 6, 40)
    theirs.P.copy_(ours.projection[0])
    theirs.CB.copy_(ours.codes[0].t())
    codes = ours(x)[..., 0]
    assert torch.equal(codes, theirs(x))
    point = torch.nn.functional.normalize(x @ ours.projection[0], dim=2)
    distance = torch.cdist(point, ours.codes[0].t().expand(3, -1, -1))
    assert torch.equal(codes, distance.argmin(2))
    assert len(codes.unique()) > 5


def test_several_books_differ_and_are_stored():
    quantizer = RandomProjectionQuantizer(12, n_codes=40, n_books=2)
    codes = quantizer(torch.randn(3, 7, 12))
    assert codes.shape == (3, 7, 2)
    assert not torch.equal(codes[..., 0], codes[..., 1])
    assert set(quantizer.state_dict()) == {"projection", "codes"}
    assert not list(quantizer.parameters())


@pytest.mark.parametrize("masks", [1, 2])
def test_loss_is_the_mean_over_hidden_frames(masks):
    net = network(FixedSpans(0.5, 2), masks=masks)
    objective = BestRQ(net, RandomProjectionQuantizer(4 * BINS, 16)).eval()
    feats = torch.randn(2, 40, BINS)
    lengths = torch.tensor([1.0, 0.5])
    torch.manual_seed(3)
    out = objective(feats, lengths)
    torch.manual_seed(3)
    again = net(feats, lengths)
    assert out.count == int(again.mask.sum()) == masks * (5 + 2)
    codes = objective.quantizer(patched(feats, 4))[..., 0]
    codes = codes.repeat_interleave(masks, dim=0)
    scores = objective.head(again.guess).log_softmax(2)
    picked = scores.gather(2, codes.unsqueeze(2)).squeeze(2)
    assert float(out.loss) == pytest.approx(
        -float(picked[again.mask].mean()), rel=1e-5
    )
    right = (scores.argmax(2) == codes)[again.mask].sum()
    assert float(out.correct) == float(right)


@pytest.mark.parametrize(("frontend", "visible_only"), MODES)
@pytest.mark.parametrize("n_frames", [1, 3, 4, 9])
@pytest.mark.parametrize("hides", [0.0, 1.0])
def test_short_clips_nothing_and_everything_hidden(
    frontend, visible_only, n_frames, hides
):
    def policy(counts, begins=None, speech=None, generator=None):
        return frames_mask(counts, int(counts.max())) & bool(hides)

    net = network(policy, frontend, visible_only)
    objective = BestRQ(net, RandomProjectionQuantizer(4 * BINS, 16))
    out = objective(torch.randn(1, n_frames, BINS), torch.ones(1))
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert out.count == (math.ceil(n_frames / 4) if hides else 0)
    assert (float(out.loss) > 0) == bool(hides)
    assert torch.isfinite(out.hidden).all()
    if visible_only:
        # What is hidden is not given to adversaries either.
        assert bool(out.hidden.any()) != bool(hides)


@pytest.mark.parametrize(("frontend", "visible_only"), MODES)
def test_objective_learns(frontend, visible_only):
    """Hidden frames of a periodic signal are predicted from visible ones."""
    torch.manual_seed(1)
    patterns = torch.randn(4, 4, BINS)
    net = network(FixedSpans(0.4, 2), frontend, visible_only)
    objective = BestRQ(net, RandomProjectionQuantizer(4 * BINS, 16)).train()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-3)
    for _ in range(60):
        phase = torch.randint(4, (8, 1))
        order = (torch.arange(12) + phase) % 4
        feats = patterns[order].flatten(1, 2)
        out = objective(feats, torch.ones(8))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    # Guessing one of the four codes would be right every fourth time.
    assert float(out.correct) / out.count > 0.6


@pytest.mark.parametrize("kind", [Patches, ConvolvedPatches])
def test_front_end_of_patches_sees_its_own_frames_only(kind):
    front = kind(BINS, 16, stride=4)
    x = torch.randn(1, 12, BINS, requires_grad=True)
    out, counts = front(x, torch.tensor([10]))
    assert counts.tolist() == [3]
    out[0, 1, 0].backward()
    seen = x.grad.abs().sum(2)[0] > 0
    assert seen.nonzero().squeeze(1).tolist() == [4, 5, 6, 7]


def test_settings_are_checked():
    with pytest.raises(ValueError, match="masks"):
        network(FixedSpans(), masks=0)
    with pytest.raises(ValueError, match="frontend: 'magic' is none of"):
        network(FixedSpans(), frontend="magic")
    with pytest.raises(ValueError, match="boundaries"):
        network(Segments())(torch.randn(1, 40, BINS), torch.ones(1))
    with pytest.raises(ValueError, match="odd"):
        LightDecoder(16, kernel_size=4)
    with pytest.raises(ValueError, match="stride"):
        Patches(BINS, 16, stride=0)
    with pytest.raises(ValueError, match="places=True"):
        MaskedEncoder(
            ConformerLobe(BINS, d_model=16, num_layers=1),
            FixedSpans(),
            LightDecoder(16),
        )
    # As from a detector that was made for another sampling rate.
    begins = torch.zeros(1, 20, dtype=torch.bool)
    with pytest.raises(ValueError, match="20 frames of boundaries beside 40"):
        network(Segments())(torch.randn(1, 40, BINS), torch.ones(1), begins)
    objective = BestRQ(
        network(FixedSpans()), RandomProjectionQuantizer(BINS, 16)
    )
    with pytest.raises(ValueError, match="n_mels"):
        objective(torch.randn(1, 40, BINS), torch.ones(1))


def test_usage_is_the_share_of_codes_that_occur_of_those_that_can():
    quantizer = RandomProjectionQuantizer(4 * BINS, n_codes=8, n_books=2)
    objective = BestRQ(network(FixedSpans(0.5, 2)), quantizer)
    codes = torch.tensor([[0, 1], [0, 7], [3, 1]])
    # Three frames have three codes of each book at most, nine have all eight.
    assert float(objective._usage(codes)) == pytest.approx(4 / 6)
    assert float(objective._usage(codes.repeat(3, 1))) == pytest.approx(4 / 16)
    assert float(objective._usage(codes[:0])) == 0
    # Of features that are all the same one code of each book occurs.
    out = objective(torch.ones(2, 80, BINS), torch.ones(2))
    assert float(out.measures["usage"]) == pytest.approx(2 / 16)
