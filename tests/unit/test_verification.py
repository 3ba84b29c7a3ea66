from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_privacy.metrics.uncertainty import (
    Interval,
    bootstrap_group_eer,
    bootstrap_pair_eer,
    bootstrap_ratio,
    speaker_draws,
)
from speechbrain_privacy.metrics.verification import (
    PooledScores,
    eer_from_counts,
    equal_error_rate,
)

#: A few levels, so that ties are the rule.
SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=30).map(
    np.array
)


def naive_eer(mated, nonmated):
    """The definition, threshold by threshold."""
    best = None
    for threshold in np.unique(np.concatenate([mated, nonmated])):
        miss = Fraction(int((mated <= threshold).sum()), len(mated))
        accept = Fraction(int((nonmated > threshold).sum()), len(nonmated))
        if best is None or abs(miss - accept) < best[0]:
            best = (abs(miss - accept), (miss + accept) / 2)
    return float(best[1])


def test_all_reference_vectors(vectors):
    assert len(vectors) == 9
    for name, content in vectors.items():
        found = equal_error_rate(content["mated"], content["non_mated"])
        expected = content["values"]["speechbrain_EER"]["eer"]
        assert found == pytest.approx(expected, abs=1e-6), name


@given(SCORES, SCORES)
def test_eer_is_its_definition(mated, nonmated):
    assert equal_error_rate(mated, nonmated) == pytest.approx(
        naive_eer(mated, nonmated)
    )


@given(SCORES, SCORES)
def test_monotone_maps_and_order_change_nothing(mated, nonmated):
    rate = equal_error_rate(mated, nonmated)
    assert equal_error_rate(np.exp(mated) + 3, np.exp(nonmated) + 3) == rate
    assert equal_error_rate(mated[::-1], np.sort(nonmated)) == rate


@given(SCORES, SCORES, st.data())
def test_weights_are_repetitions(mated, nonmated, data):
    def weights(scores):
        drawn = st.lists(
            st.integers(0, 3), min_size=len(scores), max_size=len(scores)
        ).filter(any)
        return np.array(data.draw(drawn))

    w_mated, w_nonmated = weights(mated), weights(nonmated)
    pooled = PooledScores(mated, nonmated)
    weighted = eer_from_counts(
        pooled.mated_counts(w_mated), pooled.nonmated_counts(w_nonmated)
    )
    repeated = naive_eer(
        np.repeat(mated, w_mated), np.repeat(nonmated, w_nonmated)
    )
    assert weighted == pytest.approx(repeated)


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
        equal_error_rate(mated, nonmated)


def test_draws_keep_the_size_of_every_group():
    group = np.array([0, 0, 1, 1, 1])
    draws = speaker_draws(5, 40, seed=1, strata=group)
    assert (draws[:, group == 0].sum(1) == 2).all()
    assert (draws[:, group == 1].sum(1) == 3).all()
    assert len(np.unique(draws, axis=0)) > 5
    with pytest.raises(ValueError, match="two or more"):
        speaker_draws(1, 5)


def trials(n_speakers=8, n_utterances=4, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(n_speakers), n_utterances)
    centre = rng.normal(0, spread, (n_speakers, 6))
    x = centre[speakers] + rng.normal(0, 1, (len(speakers), 6))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    i, j = np.triu_indices(len(speakers), 1)
    return (x @ x.T)[i, j], speakers[i], speakers[j]


def test_pair_bootstrap_counts_trials_as_a_resampled_list_would():
    scores, left, right = trials(4, 3)
    found = bootstrap_pair_eer(scores, left, right, n_draws=30, seed=5)
    rates = []
    for draw in speaker_draws(4, 30, seed=5):
        times = [
            draw[a] * (1 if a == b else draw[b]) for a, b in zip(left, right)
        ]
        kept, mated = np.repeat(scores, times), np.repeat(left == right, times)
        if mated.all() or not mated.any():
            rates.append(np.nan)
        else:
            rates.append(naive_eer(kept[mated], kept[~mated]))
    low, high = np.nanquantile(rates, [0.025, 0.975])
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)
    assert found.value == pytest.approx(
        naive_eer(scores[left == right], scores[left != right])
    )


def test_resampling_trials_would_be_far_too_narrow():
    scores, left, right = trials(20, 6)
    found = bootstrap_pair_eer(scores, left, right, n_draws=300)
    assert found.low <= found.value <= found.high
    mated = left == right
    pooled = PooledScores(scores[mated], scores[~mated])
    rng = np.random.default_rng(0)

    def rows(n):
        return rng.multinomial(n, np.full(n, 1 / n), size=300)

    low, high = np.quantile(
        eer_from_counts(
            pooled.mated_counts(rows(mated.sum())),
            pooled.nonmated_counts(rows((~mated).sum())),
        ),
        [0.025, 0.975],
    )
    assert found.high - found.low > 1.5 * (high - low)


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 100))
def test_no_leakage_means_one_half(seed):
    scores, left, right = trials(30, 3, seed=seed, spread=0.0)
    found = bootstrap_pair_eer(scores, left, right, n_draws=200)
    assert abs(found.value - 0.5) < 0.08


def test_group_bootstrap_and_its_errors():
    scores, speakers = [4, 3, 2, 1, 0, 2.5], list("aabbcc")
    positive = [True, True, False, False, False, False]
    found = bootstrap_group_eer(scores, positive, speakers, n_draws=50)
    assert found.value == 0.0 and found.n_speakers == 3
    assert "3 speakers" in found.warning
    with pytest.raises(ValueError, match="both classes"):
        bootstrap_group_eer([1, 2], [True, False], ["a", "a"], n_draws=5)


def test_ratio_bootstrap():
    errors, words = np.array([1, 0, 3, 2]), np.array([10, 10, 20, 10])
    found = bootstrap_ratio(errors, words, list("aabb"), n_draws=500)
    assert found.value == pytest.approx(6 / 50)
    assert found.low == pytest.approx(1 / 20)  # speaker a twice
    assert found.high == pytest.approx(5 / 30)  # speaker b twice
    with pytest.raises(ValueError, match="positive"):
        bootstrap_ratio([1, 1], [0, 0], ["a", "b"])


def test_an_interval_needs_usable_draws():
    with pytest.raises(ValueError, match="1 of 3"):
        Interval.of(0.5, [0.5, np.nan, np.nan], 3)
