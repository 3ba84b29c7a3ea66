"""Bottlenecks: what passes, what is learnt, and what is proved."""

import math

import numpy as np
import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from scipy.stats import norm

from speechbrain_privacy.metrics.bounds import (
    clopper_pearson,
    epsilon_lower_bound,
)
from speechbrain_privacy.nnet.bottlenecks import (
    FewerChannels,
    Narrow,
    VectorQuantizer,
)
from speechbrain_privacy.nnet.noise import (
    GaussianNoise,
    LaplaceNoise,
    gaussian_sigma,
)
from tests.conftest import ROOT

ALL = torch.ones(4)


def clusters(n=400, seed=0):
    """Frames around six far points, ``[4, n / 4, 3]``, and their points."""
    draw = torch.Generator().manual_seed(seed)
    points = 10 * torch.eye(3)
    points = torch.cat([points, -points])
    which = torch.randint(6, (n,), generator=draw)
    x = points[which] + 0.1 * torch.randn(n, 3, generator=draw)
    return x.unflatten(0, (4, -1)), which, points


def test_codes_find_the_clusters():
    torch.manual_seed(0)
    bottleneck = VectorQuantizer(3, n_codes=6, decay=0.8)
    for seed in range(60):
        x, _, points = clusters(seed=seed)
        bottleneck(x, ALL)
    gaps = torch.cdist(points, bottleneck.codes).amin(1)
    # Idle codes begin anew until each cluster has one.
    assert float(gaps.max()) < 0.3
    x, which, points = clusters(seed=99)
    passed, loss = bottleneck.eval()(x, ALL)
    assert torch.allclose(passed.flatten(0, 1), points[which], atol=0.3)
    assert len(passed.flatten(0, 1).unique(dim=0)) == 6
    expected = 0.25 * (x - passed).square().mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    again = VectorQuantizer(3, n_codes=6)
    again.load_state_dict(bottleneck.state_dict())
    assert torch.equal(again.eval()(x, ALL)[0], passed)


def test_nearest_is_by_distance():
    bottleneck = VectorQuantizer(5, n_codes=20)
    x = torch.randn(2, 9, 5)
    expected = torch.cdist(x, bottleneck.codes.expand(2, -1, -1)).argmin(2)
    assert torch.equal(bottleneck.nearest(x), expected)


def test_gradients_pass_straight_through_and_commit():
    torch.manual_seed(0)
    bottleneck = VectorQuantizer(3, n_codes=4, commitment=0.5)
    x = torch.randn(2, 10, 3, requires_grad=True)
    passed, loss = bottleneck(x, torch.tensor([1.0, 0.5]))
    (straight,) = torch.autograd.grad(
        (passed * torch.arange(3.0)).sum(), x, retain_graph=True
    )
    assert torch.equal(straight, torch.arange(3.0).expand(2, 10, 3))
    (commit,) = torch.autograd.grad(loss, x)
    assert (commit[1, 5:] == 0).all()  # padding commits to nothing
    n = 15 * 3
    wanted = 0.5 * 2 * (x - passed).detach() / n
    assert torch.allclose(commit[0], wanted[0], atol=1e-6)


def test_padding_is_not_followed():
    torch.manual_seed(0)
    x = torch.randn(2, 10, 3)
    x[1, 5:] = 1000.0
    bottleneck = VectorQuantizer(3, n_codes=4)
    for _ in range(20):
        bottleneck(x, torch.tensor([1.0, 0.5]))
    assert bottleneck.codes.abs().max() < 10


def test_it_waits_and_is_still_in_evaluation():
    bottleneck = VectorQuantizer(3, n_codes=4, begin_after=2)
    x = torch.randn(4, 10, 3)
    for _ in range(2):
        passed, loss = bottleneck(x, ALL)
        assert torch.equal(passed, x)
        assert float(loss) == 0
    assert torch.equal(bottleneck.eval()(x, ALL)[0], x)
    assert int(bottleneck.calls) == 2
    assert not torch.equal(bottleneck.train()(x, ALL)[0], x)
    before = bottleneck.codes.clone()
    assert not torch.equal(bottleneck.eval()(x, ALL)[0], x)
    assert torch.equal(bottleneck.codes, before)
    assert bottleneck.bits_per_second(25) == 50


def test_noise_is_as_large_as_stated_and_always_there():
    torch.manual_seed(0)
    x = torch.randn(1, 20000, 4)
    ones = torch.ones(1)
    laplace = LaplaceNoise(4.0, rescale=False).eval()
    noise = laplace(x, ones)[0] - x / x.abs().sum(2, keepdim=True)
    # Laplace: E|x| = scale, and its square's mean is 2 scale^2.
    assert float(noise.abs().mean()) == pytest.approx(0.5, rel=0.02)
    assert float(noise.square().mean()) == pytest.approx(0.5, rel=0.04)
    scaled = LaplaceNoise(4.0).eval()(x, ones)[0]
    assert float(scaled.abs().mean() / noise.abs().mean()) > 3
    gauss = GaussianNoise(2.0, 1e-3, rescale=False).eval()
    noise = gauss(x, ones)[0] - x / x.norm(dim=2, keepdim=True)
    assert float(noise.std()) == pytest.approx(gauss.sigma, rel=0.02)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 5.0, 100.0])
def test_gaussian_noise_is_just_enough(epsilon):
    sigma = gaussian_sigma(epsilon, 1e-5, 2.0)
    a, b = 1 / sigma, epsilon * sigma / 2
    spent = norm.cdf(a - b) - np.exp(epsilon + norm.logcdf(-a - b))
    assert spent == pytest.approx(1e-5, rel=1e-4)
    if epsilon <= 1:  # where the classic formula holds, it asks for more
        assert sigma < 2 * math.sqrt(2 * math.log(1.25e5)) / epsilon


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_the_best_attack_proves_no_more_than_is_promised(epsilon):
    """Laplace: two worst inputs, the likelihood ratio as the attack."""
    torch.manual_seed(0)
    n = 20000
    inputs = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    mechanism = LaplaceNoise(epsilon, rescale=False)
    seen = [mechanism(x.expand(1, n, 2), torch.ones(1))[0][0] for x in inputs]

    def ratio(y):
        far = [(y - x).abs().sum(1) for x in inputs]
        return (far[1] - far[0]) / mechanism.scale

    said = [ratio(y) > epsilon - 1e-3 for y in seen]
    bound = epsilon_lower_bound(int(said[0].sum()), n, int(said[1].sum()), n)
    assert bound <= epsilon
    assert bound > (0.5 if epsilon > 4 else 0.8) * epsilon
    # With the sensitivity of non-negative vectors the promise would be broken.
    wrong = LaplaceNoise(2 * epsilon, rescale=False)
    seen = [wrong(x.expand(1, n, 2), torch.ones(1))[0][0] for x in inputs]
    said = [y[:, 0] > 0 for y in seen]
    if epsilon < 1:
        assert (
            epsilon_lower_bound(int(said[0].sum()), n, int(said[1].sum()), n)
            > epsilon
        )


def test_exact_intervals_and_bounds():
    assert clopper_pearson(0, 10) == pytest.approx((0, 0.30850), abs=1e-5)
    assert clopper_pearson(10, 10)[1] == 1.0
    assert clopper_pearson(5, 10) == pytest.approx((0.18709, 0.81291), abs=1e-5)
    # Either side may be the rare one.
    first = epsilon_lower_bound(900, 1000, 50, 1000)
    assert first == pytest.approx(epsilon_lower_bound(950, 1000, 100, 1000))
    assert first == pytest.approx(epsilon_lower_bound(50, 1000, 900, 1000))
    assert epsilon_lower_bound(900, 1000, 50, 1000, delta=0.5) < first
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(11, 10)
    with pytest.raises(ValueError, match="confidence"):
        clopper_pearson(1, 10, 1.0)


def test_narrow_and_fewer_channels():
    narrow = Narrow(8, 2)
    x = torch.randn(4, 30, 8)
    out, _ = narrow(x, ALL)
    centred = (out - out.mean((0, 1))).flatten(0, 1).detach()
    assert int(torch.linalg.matrix_rank(centred, atol=1e-4)) == 2
    fewer = FewerChannels(8, 3, seed=1)
    kept, _ = fewer(x, ALL)
    assert int((kept != 0).any(0).any(0).sum()) == 3
    assert torch.equal(kept, FewerChannels(8, 3, seed=1)(x, ALL)[0])
    for wrong in (
        lambda: Narrow(8, 9),
        lambda: FewerChannels(8, 0),
        lambda: VectorQuantizer(8, 1),
        lambda: VectorQuantizer(8, decay=1.0),
        lambda: LaplaceNoise(0.0),
        lambda: GaussianNoise(1.0, 0.0),
    ):
        with pytest.raises(ValueError, match=r"not"):
            wrong()


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("quantizer", VectorQuantizer),
        ("laplace", LaplaceNoise),
        ("gaussian", GaussianNoise),
        ("narrow", Narrow),
        ("fewer", FewerChannels),
    ],
)
def test_kinds_of_the_recipes(kind, made):
    text = (ROOT / "hparams/bottlenecks.yaml").read_text()
    # What is not asked for need not fit.
    given = {"kind": kind, "input_size": 20, "epsilon": 3.0}
    channels = 16 if kind in ("narrow", "fewer") else 99
    found = load_hyperpyyaml(text, {**given, "channels": channels})["lobe"]
    assert isinstance(found, made)
    assert getattr(found, "epsilon", 3.0) == 3.0
    hidden, _ = found(torch.randn(4, 9, 20), ALL)
    assert hidden.shape == (4, 9, 20)


def test_a_bottleneck_that_there_is_not():
    text = (ROOT / "hparams/bottlenecks.yaml").read_text()
    with pytest.raises(ValueError, match="'wide' is none of quantizer, lap"):
        load_hyperpyyaml(text, {"kind": "wide"})
