import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechbrain_privacy.nnet.gradient_reversal import (
    GradientReversal,
    reverse_gradient,
)
from speechbrain_privacy.nnet.schedules import (
    Constant,
    DannRamp,
    WarmUp,
    WarmupCosine,
)


def test_forward_is_identity_and_backward_is_reversed_and_weighted():
    x = torch.randn(3, 4, requires_grad=True)
    y = reverse_gradient(x, 0.7)
    assert torch.equal(x, y)
    weights = torch.randn(3, 4)
    (y * weights).sum().backward()
    assert torch.allclose(x.grad, -0.7 * weights)


def test_a_tensor_weight_is_read_when_the_gradient_passes():
    x = torch.ones(2, requires_grad=True)
    weights = torch.zeros(3)
    y = reverse_gradient(x, weights[1])
    weights[1] = 2.0
    y.sum().backward()
    assert x.grad.tolist() == [-2.0, -2.0]


def test_module_follows_its_schedule():
    module = GradientReversal(weight=0.5, schedule=WarmUp(0.0, 0.5))
    assert module.effective_weight == 0.0
    assert module.set_progress(0.25) == pytest.approx(0.25)
    x = torch.ones(1, requires_grad=True)
    module(x).backward()
    assert x.grad.item() == pytest.approx(-0.25)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match=">= 0"):
        GradientReversal(weight=-1)


def test_dann_ramp_has_the_published_form():
    for p in (0.0, 0.2, 0.9):
        expected = 2 / (1 + math.exp(-10 * p)) - 1
        assert DannRamp(10)(p) == pytest.approx(expected)
    assert DannRamp(10, delay=0.5)(0.5) == 0.0
    assert DannRamp(10, delay=0.5)(1.0) == pytest.approx(DannRamp(10)(1.0))


@given(st.floats(0, 1), st.floats(0, 1))
def test_ramps_grow_from_zero_to_at_most_one(a, b):
    a, b = sorted((a, b))
    for ramp in (DannRamp(), DannRamp(delay=0.3), WarmUp(0.1, 0.6)):
        assert 0.0 <= ramp(a) <= ramp(b) <= 1.0
    assert Constant(0.4)(a) == Constant(0.4)(b) == 0.4


@given(st.floats(0, 1))
def test_warmup_cosine_stays_within_floor_and_one(p):
    schedule = WarmupCosine(warmup=0.2, floor=0.1)
    assert 0.0 <= schedule(p) <= 1.0
    if p >= 0.2:
        assert schedule(p) >= 0.1 - 1e-12


@pytest.mark.parametrize(
    "schedule", [Constant(), DannRamp(), WarmUp(), WarmupCosine()]
)
@pytest.mark.parametrize("progress", [-0.01, 1.01, float("nan")])
def test_progress_outside_0_1_is_refused(schedule, progress):
    with pytest.raises(ValueError, match="progress"):
        schedule(progress)


@pytest.mark.parametrize(
    "make",
    [
        lambda: WarmUp(0.5, 0.5),
        lambda: DannRamp(delay=1.0),
        lambda: WarmupCosine(warmup=1.0),
    ],
)
def test_schedules_refuse_impossible_settings(make):
    with pytest.raises(ValueError):
        make()
