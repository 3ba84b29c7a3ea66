import numpy as np
import pytest
import torch

from speechbrain_privacy.nnet.pooling import (
    frame_counts,
    frames_mask,
    make_pooling,
)


@pytest.mark.parametrize("kind", ["mean", "max", "stats", "attentive"])
def test_padding_never_changes_a_pooled_vector(kind):
    pooling = make_pooling(kind, 5)
    x = torch.randn(3, 12, 5)
    counts = torch.tensor([12, 7, 1])
    mask = torch.arange(12) < counts.unsqueeze(1)
    padded = x.masked_fill(~mask.unsqueeze(2), 1e3)
    together = pooling(padded, mask)
    for i, n in enumerate(counts):
        alone = pooling(x[i : i + 1, :n], torch.ones(1, n, dtype=torch.bool))
        assert torch.allclose(together[i], alone[0], atol=1e-3)
    assert together.shape[1] == pooling.output_size(5)


def test_statistics_match_numpy():
    x = torch.randn(2, 9, 4)
    out = make_pooling("stats", 4)(x, torch.ones(2, 9, dtype=torch.bool))
    assert np.allclose(out[:, :4], x.numpy().mean(1), atol=1e-6)
    assert np.allclose(out[:, 4:], x.numpy().std(1), atol=1e-5)


def test_constant_frames_have_finite_gradients():
    x = torch.ones(1, 4, 2, requires_grad=True)
    pooling = make_pooling("stats", 2)
    pooling(x, torch.ones(1, 4, dtype=torch.bool)).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_relative_lengths_become_whole_frames():
    lengths = torch.tensor([1.0, 0.5, 1e-6])
    assert frame_counts(lengths, 7).tolist() == [7, 4, 1]
    assert frames_mask(frame_counts(lengths, 7), 7).sum(1).tolist() == [7, 4, 1]


def test_an_unknown_pooling_is_named():
    with pytest.raises(ValueError, match="median"):
        make_pooling("median", 3)


def test_lengths_in_frames_are_refused():
    with pytest.raises(ValueError, match="relative, at most 1; got 50"):
        frame_counts(torch.tensor([50.0, 20.0]), 50)
