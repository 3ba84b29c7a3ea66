"""wav2vec 2.0: distractors are frames of the same utterance, and no copies."""

import math

import pytest
import torch
from speechbrain.nnet.losses import ContrastiveLoss
from speechbrain.nnet.quantisers import GumbelVectorQuantizer

from speechbrain_privacy.lobes.wav2vec2 import (
    GumbelQuantizer,
    Wav2Vec2,
    contrast,
)
from speechbrain_privacy.masking.policies import FixedSpans
from speechbrain_privacy.nnet.pooling import frames_mask
from tests.unit.test_objectives import BINS, Given, network


def frames(n, dim=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, generator=draw)


def by_hand(guesses, targets, codes, counts, temperature):
    """Equation 3 in loops, with all the other frames as distractors."""
    total, begin = 0.0, 0
    cosine = torch.nn.functional.cosine_similarity
    for count in counts:
        for i in range(begin, begin + count):
            rivals = [
                j
                for j in range(begin, begin + count)
                if j == i or codes[j] != codes[i]
            ]
            logits = torch.stack(
                [cosine(guesses[i], targets[j], dim=0) for j in rivals]
            )
            log_probs = (logits / temperature).log_softmax(0)
            total -= float(log_probs[rivals.index(i)]) * (count > 1)
        begin += count
    return total


def test_equation_by_hand():
    guesses, targets = frames(9), frames(9, seed=1)
    codes = torch.tensor([0, 1, 2, 2, 5, 6, 6, 6, 3])
    counts = [4, 4, 1]
    loss, count, _ = contrast(
        guesses, targets, codes, torch.tensor(counts), 0.2
    )
    expected = by_hand(guesses, targets, codes, counts, 0.2)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert count == 8  # the last frame is alone in its utterance


def test_as_speechbrains_loss_on_the_same_distractors():
    guesses, targets = frames(5), frames(5, seed=1)
    ours, _, _ = contrast(
        guesses, targets, torch.arange(5), torch.tensor([5]), 0.1
    )
    others = [[j for j in range(5) if j != i] for i in range(5)]
    negatives = targets[torch.tensor(others)].transpose(0, 1).unsqueeze(1)
    theirs, _ = ContrastiveLoss(0.1)(
        guesses.unsqueeze(0), targets.unsqueeze(0), negatives
    )
    assert float(ours) == pytest.approx(float(theirs), rel=1e-4)


@pytest.mark.parametrize("n_negatives", [None, 1, 50])
def test_distractors_never_come_from_another_utterance(n_negatives):
    counts = torch.tensor([3, 6, 2])
    targets = frames(11, seed=1).requires_grad_()
    guesses = frames(11)
    torch.manual_seed(0)
    utterances = torch.arange(3).repeat_interleave(counts)
    for i in range(3):
        # The loss of one utterance alone, by its guesses' gradient.
        own = (utterances == i).unsqueeze(1)
        mine = torch.where(own, guesses, guesses.detach()).requires_grad_()
        loss, _, _ = contrast(
            mine, targets, torch.arange(11), counts, 0.1, n_negatives
        )
        (slope,) = torch.autograd.grad(loss, mine, create_graph=True)
        (to_targets,) = torch.autograd.grad(slope[own[:, 0]].sum(), targets)
        assert (to_targets[own[:, 0]] != 0).any()
        assert (to_targets[~own[:, 0]] == 0).all()


@pytest.mark.parametrize("count", [2, 3, 40])
def test_as_many_distractors_as_asked_for_and_never_the_target(count):
    """Where nothing resembles anything, the loss counts the candidates."""
    guesses = torch.tensor([[1.0, 0.0]]).expand(count, 2)
    targets = torch.tensor([[0.0, 1.0]]).expand(count, 2)
    loss, found, _ = contrast(
        guesses, targets, torch.arange(count), torch.tensor([count]), 0.1, 17
    )
    assert float(loss) / found == pytest.approx(math.log(18), rel=1e-5)


def test_distractors_are_drawn_evenly():
    """Each of three frames meets the other two equally often."""
    torch.manual_seed(0)
    targets = torch.eye(3)
    guesses = torch.zeros(3, 3)
    guesses[0, 1] = 1.0  # frame 0 resembles frame 1, not frame 2
    loss, _, _ = contrast(
        guesses, targets, torch.arange(3), torch.tensor([3]), 1.0, 40000
    )
    # log of 1 + sum over draws of e (frame 1) or 1 (frame 2).
    first = math.log(1 + 20000 * (math.e + 1))
    rest = 2 * math.log(1 + 40000)
    assert float(loss) == pytest.approx(first + rest, abs=0.01)


def test_a_collapsed_codebook_is_no_success():
    x = frames(4)
    same = torch.zeros(4, dtype=torch.long)
    loss, count, correct = contrast(x, x, same, torch.tensor([4]), 0.1)
    assert (float(loss), count, float(correct)) == (0.0, 4, 0.0)
    _, _, correct = contrast(x, x, torch.arange(4), torch.tensor([4]), 0.1)
    assert float(correct) == 4


def test_hard_choice_as_speechbrains():
    ours = GumbelQuantizer(7, 6, n_codes=5, n_groups=2).eval()
    theirs = GumbelVectorQuantizer(7, 5, (2.0, 0.5, 0.9), 2, 6).eval()
    theirs.weight_proj.load_state_dict(ours.scores.state_dict())
    theirs.vars.data = ours.codebooks.data.reshape(1, 10, 3)
    x = frames(30, 7)
    vectors, codes, diversity = ours(x)
    result = theirs(x.unsqueeze(0))
    assert torch.allclose(vectors, result["x"][0], atol=1e-6)
    assert float(diversity) == pytest.approx(
        float((10 - result["prob_perplex"]) / 10), abs=1e-5
    )
    assert len(vectors.unique(dim=0)) == len(codes.unique()) > 5


def test_choices_are_sampled_cool_down_and_are_resumed():
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(
        4, 4, n_codes=3, n_groups=1, temperature=(2.0, 0.5, 0.5)
    )
    quantizer.scores.weight.data.zero_()
    quantizer.scores.bias.data = torch.tensor([1.0, 0.0, -1.0])
    vectors, codes, _ = quantizer(torch.zeros(30000, 4))
    assert torch.allclose(vectors, quantizer.codebooks[0, codes], atol=1e-6)
    shares = codes.bincount() / 30000
    expected = quantizer.scores.bias.softmax(0)
    assert torch.allclose(shares, expected, atol=0.01)
    found = [float(quantizer.temperature)]
    for _ in range(3):
        quantizer(torch.zeros(2, 4))
        found.append(float(quantizer.temperature))
    assert found == [1.0, 0.5, 0.5, 0.5]
    again = GumbelQuantizer(4, 4, n_codes=3, n_groups=1)
    again.load_state_dict(quantizer.state_dict())
    assert int(again.calls) == 4


def test_diversity_is_0_for_even_use_and_large_for_a_collapse():
    quantizer = GumbelQuantizer(4, 4, n_codes=8, n_groups=2)
    quantizer.scores.weight.data.zero_()
    assert float(quantizer(torch.zeros(5, 4))[2]) == pytest.approx(0, abs=1e-5)
    quantizer.scores.bias.data[[0, 8]] = 100.0
    collapsed = quantizer(torch.zeros(5, 4))[2]
    assert float(collapsed) == pytest.approx(1 - 1 / 8, abs=1e-5)
    collapsed.backward()
    assert torch.isfinite(quantizer.scores.bias.grad).all()


def objective(policy, visible_only=False, masks=1, n_negatives=100, **options):
    net = network(policy, "patches", visible_only, masks)
    quantizer = GumbelQuantizer(16, 8, n_codes=6, **options)
    return Wav2Vec2(net, quantizer, dim=8, n_negatives=n_negatives)


@pytest.mark.parametrize("visible_only", [False, True])
@pytest.mark.parametrize("n_negatives", [None, 5])
def test_every_parameter_learns(visible_only, n_negatives):
    model = objective(FixedSpans(0.5, 2), visible_only, 2, n_negatives).train()
    out = model(torch.randn(2, 40, BINS), torch.tensor([1.0, 0.5]))
    out.loss.backward()
    assert out.count == 2 * (5 + 2)
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert not missing


@pytest.mark.parametrize("n_negatives", [None, 5])
@pytest.mark.parametrize("n_frames", [1, 3, 4, 9])
@pytest.mark.parametrize("hides", [0, 1])
def test_short_clips_nothing_and_everything_hidden(
    n_frames, hides, n_negatives
):
    def policy(counts, begins=None, speech=None, generator=None):
        return frames_mask(counts, int(counts.max())) & bool(hides)

    model = objective(policy, n_negatives=n_negatives).train()
    out = model(torch.randn(1, n_frames, BINS), torch.ones(1))
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert out.count == (math.ceil(n_frames / 4) if hides * n_frames > 4 else 0)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name


def test_an_utterance_is_judged_alone_as_in_a_batch():
    mask = [[0, 1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0, 0]]
    model = objective(Given(mask), n_negatives=None).eval()
    feats = torch.randn(2, 27, BINS)
    feats[1, 18:] = 7.0
    both = model(feats, torch.tensor([1.0, 18 / 27]))
    sums = 0.0
    for row, n in ((0, 27), (1, 18)):
        model.network.policy = Given([mask[row][: math.ceil(n / 4)]])
        alone = model(feats[row : row + 1, :n], torch.ones(1))
        contrastive = alone.loss - 0.1 * alone.measures["diversity"]
        sums += float(contrastive) * alone.count
    together = both.loss - 0.1 * both.measures["diversity"]
    assert float(together) * both.count == pytest.approx(sums, rel=1e-4)


def test_objective_learns():
    """Hidden frames of a periodic signal are told from the others."""
    torch.manual_seed(1)
    patterns = torch.randn(4, 4, BINS)
    model = objective(
        FixedSpans(0.4, 2), n_negatives=None, temperature=(2.0, 0.5, 0.95)
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        order = (torch.arange(12) + torch.randint(4, (8, 1))) % 4
        out = model(patterns[order].flatten(1, 2), torch.ones(8))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    # Of five hidden frames about four are of another pattern.
    assert float(out.correct) / out.count > 0.6


def test_settings_are_checked():
    with pytest.raises(ValueError, match="patches"):
        Wav2Vec2(
            network(FixedSpans(), "convolution"), GumbelQuantizer(16, 8), 8
        )
    with pytest.raises(ValueError, match="n_negatives"):
        objective(FixedSpans(), n_negatives=0)
    with pytest.raises(ValueError, match="do not divide"):
        GumbelQuantizer(4, 7, n_groups=2)
    with pytest.raises(ValueError, match="falls"):
        GumbelQuantizer(4, 8, temperature=(0.5, 2.0, 0.9))
