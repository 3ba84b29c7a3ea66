"""Linkability and disclosure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from speechbrain_privacy.metrics.disclosure import (
    expected_disclosure,
    linkability,
    local_linkability,
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
