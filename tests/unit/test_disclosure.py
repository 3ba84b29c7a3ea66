"""Linkability, disclosure, and the two legal criteria."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from speechbrain_privacy.metrics.disclosure import (
    expected_disclosure,
    linkability,
    linking_probability,
    local_linkability,
    singling_out_probability,
    worst_case_disclosure,
)
from speechbrain_privacy.metrics.scores import PooledScores

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=30).map(
    np.array
)


@given(SCORES, SCORES)
def test_expected_disclosure_is_the_area_between_two_entropies(mated, nonmated):
    blocks = PooledScores(mated, nonmated).blocks()
    m, n = blocks.pav.rates

    def gap(p):
        """Entropy of the prior less the minimum empirical cross-entropy."""
        left = 0.0
        for share, other, prior in ((m, n, p), (n, m, 1 - p)):
            used = share > 0
            post = (
                prior
                * share[used]
                / (prior * share[used] + (1 - prior) * other[used])
            )
            left -= prior * share[used] @ np.log2(post)
        return -p * np.log2(p) - (1 - p) * np.log2(1 - p) - left

    area, _ = quad(gap, 0, 1, limit=200)
    assert expected_disclosure(blocks) == pytest.approx(area, abs=1e-6)


def test_disclosure_of_a_hair_is_smooth():
    def at(step):
        n = 1_000_000
        return expected_disclosure(
            PooledScores(
                np.repeat([0, 1], [n // 2 - step, n // 2 + step]),
                np.repeat([0, 1], [n // 2 + step, n // 2 - step]),
            ).blocks()
        )

    # Quadratic in the difference of the rates, across the series' border.
    small = [at(step) / step**2 for step in (200, 240, 260, 300, 1000)]
    assert np.ptp(small) < 1e-3 * small[0]


def test_worst_case_is_nothing_where_there_is_nothing():
    assert worst_case_disclosure(
        PooledScores([1.0] * 5, [1.0] * 5).blocks()
    ) == pytest.approx(0.0)


def test_linkability_sees_what_an_eer_does_not():
    rng = np.random.default_rng(0)
    # Mated scores on both sides of the non-mated ones: EER 50 %.
    mated = np.concatenate([rng.normal(-5, 1, 500), rng.normal(5, 1, 500)])
    pooled = PooledScores(mated, rng.normal(0, 1, 9000))
    assert linkability(pooled) > 0.95


def test_local_linkability_is_one_where_all_are_mated():
    pooled = PooledScores(np.arange(100, 150), np.arange(0, 50))
    edges, local, share = local_linkability(pooled)
    assert len(edges) == 6 and share.sum() == 1.0
    np.testing.assert_array_equal(local[share > 0], 1.0)


def test_a_prior_ratio_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        linkability(PooledScores(np.arange(20), np.arange(20)), omega=0.0)


def linked_by_drawing(scores, size, n_draws, rng):
    n, m = scores.shape
    found = np.zeros(n)
    for i in range(n):
        others = np.delete(np.arange(m), i)
        for _ in range(n_draws):
            drawn = scores[i, rng.choice(others, size - 1, replace=False)]
            if (drawn <= scores[i, i]).all():
                found[i] += 1 / (1 + (drawn == scores[i, i]).sum())
    return found / n_draws


@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_linking_probability_is_the_mean_over_draws(size):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (5, 7)).astype(float)
    drawn = linked_by_drawing(scores, size, 3000, rng)
    np.testing.assert_allclose(
        linking_probability(scores, size), drawn, atol=0.03
    )


def test_linking_by_guessing():
    assert linking_probability(np.zeros((6, 6))) == pytest.approx(1 / 6)
    assert linking_probability(np.eye(6)) == pytest.approx(1.0)
    for wrong, message in (
        (np.zeros((3, 2)), "one row"),
        (np.full((2, 2), np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            linking_probability(wrong)
    with pytest.raises(ValueError, match="cannot be drawn"):
        linking_probability(np.zeros((2, 2)), 3)


def test_singling_out_finds_a_speaker_that_stands_out():
    rng = np.random.default_rng(0)
    n = 40
    leak = 10 * np.eye(n)
    scores = leak + rng.normal(size=(n, n))
    calibration = leak[:, :, None] + rng.normal(size=(n, n, 3))
    assert singling_out_probability(scores, calibration).mean() == 1.0
    assert singling_out_probability(scores, calibration, 10, 50).mean() == 1.0


def test_singling_out_by_guessing_is_one_in_e():
    rng = np.random.default_rng(0)
    n = 200
    found = singling_out_probability(
        rng.normal(size=(n, n)), rng.normal(size=(n, n, 50)), 50, 20
    )
    assert found.mean() == pytest.approx(np.exp(-1), abs=0.03)


def test_singling_out_refuses_what_does_not_fit():
    for calibration, message in (
        (np.zeros((3, 2, 1)), "3 x 3 x items"),
        (np.full((3, 3, 1), np.inf), "calibration score"),
    ):
        with pytest.raises(ValueError, match=message):
            singling_out_probability(np.zeros((3, 3)), calibration)
    with pytest.raises(ValueError, match="cannot be drawn"):
        singling_out_probability(np.zeros((3, 3)), np.zeros((3, 3, 1)), 4)
