"""Spin: codes that another voice does not change."""

import pytest
import torch

from speechbrain_privacy.lobes.conformer import ConformerLobe
from speechbrain_privacy.lobes.spin import Spin, TopLayers, sinkhorn

BINS = 20


def spin(trained=None, **options):
    lobe = ConformerLobe(
        BINS, d_model=16, num_layers=2, d_ffn=32, kernel_size=5, dropout=0.0
    )
    return Spin(TopLayers(lobe, trained), **{"n_codes": 6, "dim": 8, **options})


def test_assignments_are_even_and_follow_the_scores():
    scores = torch.randn(60, 5) / 0.1
    q = sinkhorn(scores, 500)
    assert torch.allclose(q.sum(1), torch.ones(60), atol=1e-5)
    assert torch.allclose(q.sum(0), torch.full((5,), 12.0), atol=0.3)
    # Clear scores that are even already stay what they are.
    clear = 30 * torch.eye(4).repeat(3, 1)
    assert torch.allclose(sinkhorn(clear), clear / 30, atol=1e-4)
    # All frames prefer one code: it cannot have them all.
    greedy = torch.zeros(40, 4)
    greedy[:, 0] = 50.0
    assert torch.allclose(sinkhorn(greedy), torch.full((40, 4), 0.25))


def test_loss_by_hand():
    model = spin().eval()
    feats, other = torch.randn(2, 2, 27, BINS)
    lengths = torch.tensor([1.0, 18 / 27])
    out = model(feats, lengths, other=other)
    frames = []
    for x in (feats, other):
        hidden, _ = model.network.encoder(x, lengths)
        rows = torch.cat([hidden[0], hidden[1, :5]])
        frames.append(model.project(rows))
    assert out.count == len(frames[0]) == 12
    cosine = [
        torch.nn.functional.cosine_similarity(
            x.unsqueeze(1), model.codes, dim=2
        )
        for x in frames
    ]
    targets = [sinkhorn(c / 0.05) for c in cosine]
    expected = 0.0
    for score, target in ((cosine[0], targets[1]), (cosine[1], targets[0])):
        expected -= (target * (score / 0.1).log_softmax(1)).sum(1).mean() / 2
    assert float(out.loss.detach()) == pytest.approx(
        float(expected.detach()), rel=1e-4
    )
    agree = (targets[0].argmax(1) == targets[1].argmax(1)).sum()
    assert float(out.correct) == float(agree)


@pytest.mark.parametrize("trained", [None, 1, 2])
def test_only_the_last_layers_learn(trained):
    model = spin(trained).train()
    feats = torch.randn(2, 40, BINS)
    model(feats, torch.ones(2), other=feats + 1).loss.backward()
    learn = {n for n, p in model.named_parameters() if p.requires_grad}
    with_gradient = {
        n for n, p in model.named_parameters() if p.grad is not None
    }
    assert learn == with_gradient
    base = "network.encoder."
    assert any(n.startswith(f"{base}layers.layers.1") for n in learn)
    below = any(n.startswith(f"{base}layers.layers.0") for n in learn)
    assert below == (trained != 1)
    front = any(n.startswith(f"{base}subsampling") for n in learn)
    assert front == (trained is None)


def test_a_voice_is_unlearnt():
    """Content in some channels, a voice that the copy changes in others."""
    torch.manual_seed(0)
    patterns = 2 * torch.randn(6, 4, BINS)
    patterns[..., BINS // 2 :] = 0
    model = spin(n_codes=6, epsilon=0.05).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def say(order):
        voice = torch.zeros(len(order), 1, BINS)
        voice[..., BINS // 2 :] = 2 * torch.randn(len(order), 1, BINS // 2)
        return patterns[order].flatten(1, 2) + voice

    agreement = []
    for _ in range(80):
        order = torch.randint(6, (8, 12))
        out = model(say(order), torch.ones(8), other=say(order))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        agreement.append(float(out.correct) / out.count)
    assert agreement[0] < 0.6
    assert sum(agreement[-5:]) / 5 > 0.8
    assert float(out.measures["usage"]) == 1.0


def test_bad_input_is_told():
    model = spin()
    feats = torch.randn(2, 40, BINS)
    for other in (None, feats[:, :20]):
        with pytest.raises(ValueError, match="keeps the timing"):
            model(feats, torch.ones(2), other=other)
    with pytest.raises(ValueError, match="1 to 2 layers, not 3"):
        spin(3)
