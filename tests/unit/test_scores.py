"""The sort-based core, against naive definitions and repeated lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechbrain_privacy.metrics.scores import (
    Blocks,
    PooledScores,
    pool_adjacent_violators,
)
from speechbrain_privacy.metrics.verification import RANK_METRICS

#: A few levels, so that ties are the rule.
SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=30).map(
    np.array
)


def weights_for(data, scores):
    drawn = st.lists(
        st.integers(0, 3), min_size=len(scores), max_size=len(scores)
    ).filter(any)
    return np.array(data.draw(drawn))


@given(SCORES, SCORES)
def test_blocks_keep_every_trial_and_never_mix_scores(mated, nonmated):
    pooled = PooledScores(mated, nonmated)
    blocks = pooled.blocks()
    assert blocks.mated.sum() == len(mated)
    assert blocks.nonmated.sum() == len(nonmated)
    assert pooled.n_blocks <= 2 * min(len(mated), len(nonmated)) + 1
    for k in range(pooled.n_blocks):
        m, n = (
            scores[slice(*starts[k : k + 2])]
            for scores, starts in zip(
                (pooled.mated, pooled.nonmated), pooled.starts
            )
        )
        if len(m) and len(n):
            assert len(np.unique(np.concatenate([m, n]))) == 1
        inside = blocks.inside(k)
        assert inside[0].sum() == len(m) and inside[1].sum() == len(n)


@given(SCORES, SCORES, st.data())
def test_weights_are_repetitions(mated, nonmated, data):
    w_mated, w_nonmated = (weights_for(data, s) for s in (mated, nonmated))
    weighted = PooledScores(mated, nonmated).blocks(w_mated, w_nonmated)
    repeated = PooledScores(
        np.repeat(mated, w_mated), np.repeat(nonmated, w_nonmated)
    ).blocks()
    for name, metric in RANK_METRICS.items():
        assert metric(weighted) == pytest.approx(metric(repeated)), name


@given(SCORES, SCORES)
def test_monotone_maps_and_order_change_nothing(mated, nonmated):
    blocks = PooledScores(mated, nonmated).blocks()
    mapped = PooledScores(np.exp(mated)[::-1] + 3, np.exp(nonmated) + 3)
    for name, metric in RANK_METRICS.items():
        assert metric(mapped.blocks()) == metric(blocks), name


@given(SCORES, SCORES)
def test_turning_the_scores_round_exchanges_the_kinds(mated, nonmated):
    blocks = PooledScores(mated, nonmated).blocks()
    turned = PooledScores(-nonmated, -mated).blocks()
    for name in ("interpolated_eer", "rocch_eer", "min_cllr", "auc",
                 "expected_disclosure"):  # fmt: skip
        metric = RANK_METRICS[name]
        assert metric(turned) == pytest.approx(metric(blocks)), name


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_pav_is_monotone_and_keeps_the_counts(pairs):
    mated, nonmated = np.array(pairs, float).T
    if not (mated.any() and nonmated.any()):
        return
    pav = pool_adjacent_violators(mated, nonmated)
    assert pav.mated.sum() == mated.sum()
    assert pav.nonmated.sum() == nonmated.sum()
    assert (np.diff(pav.mated / (pav.mated + pav.nonmated)) > 0).all()
    # Every point of the ROC curve lies on or above every edge of the hull.
    miss, alarm = pav.vertices
    x = 1 - np.cumsum(nonmated) / nonmated.sum()
    y = np.cumsum(mated) / mated.sum()
    for i in range(len(miss) - 1):
        edge = alarm[i + 1] - alarm[i], miss[i + 1] - miss[i]
        side = edge[0] * (y - miss[i]) - edge[1] * (x - alarm[i])
        assert (side <= 1e-12).all()


@pytest.mark.parametrize(
    "mated, nonmated, message",
    [
        ([], [1.0], "no mated"),
        ([1.0], [], "no non-mated"),
        ([np.nan, 1.0], [1.0], "1 of 2 mated"),
        ([1.0], [np.inf], "1 of 1 non-mated"),
    ],
)
def test_scores_that_cannot_be_rated_are_refused(mated, nonmated, message):
    with pytest.raises(ValueError, match=message):
        PooledScores(mated, nonmated)


@pytest.mark.parametrize(
    "weights, message",
    [
        ([1.0], "2 scores need 2 weights"),
        ([1.0, -1.0], "negative"),
        ([1.0, np.nan], "NaN"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        PooledScores([1.0, 2.0], [0.0]).blocks(mated_weights=weights)


def test_a_kind_without_weight_is_refused():
    blocks = PooledScores([1.0, 2.0], [0.0]).blocks([0, 0], [1])
    for metric in RANK_METRICS.values():
        with pytest.raises(ValueError, match="mated trials have no weight"):
            metric(blocks)


def test_empty_bins_of_a_histogram_change_nothing():
    full = Blocks.of_histogram([0, 1, 0, 2], [3, 1, 0, 0])
    short = Blocks.of_histogram([0, 1, 2], [3, 1, 0])
    for name, metric in RANK_METRICS.items():
        assert metric(full) == pytest.approx(metric(short)), name
