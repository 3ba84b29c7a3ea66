"""Intervals over speakers, differences and null levels."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_privacy.metrics.comparison import (
    paired_difference,
    paired_ratio_difference,
    permutation_null,
)
from speechbrain_privacy.metrics.disclosure import linkability
from speechbrain_privacy.metrics.scores import PooledScores
from speechbrain_privacy.metrics.trials import SpeakerScores
from speechbrain_privacy.metrics.uncertainty import (
    ratio_interval,
    scaled,
    score_intervals,
    speaker_draws,
)
from speechbrain_privacy.metrics.verification import (
    RANK_METRICS,
    eer,
    equal_error_rate,
)


def trials(n_speakers=8, n_utterances=4, seed=0, spread=1.0, ties=False):
    rng = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(n_speakers), n_utterances)
    centre = rng.normal(0, spread, (n_speakers, 6))
    x = centre[speakers] + rng.normal(0, 1, (len(speakers), 6))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    i, j = np.triu_indices(len(speakers), 1)
    scores = (x @ x.T)[i, j]
    return np.round(scores, 1) if ties else scores, speakers[i], speakers[j]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("dtype", [np.int64, float])
def test_resampled_blocks_are_those_of_the_resampled_list(ties, dtype):
    scores, left, right = trials(5, 3, ties=ties)
    data = SpeakerScores.of_pairs(scores, left, right)
    draws = speaker_draws(5, 40, seed=5)
    for draw, blocks in zip(draws, data.resampled(draws.astype(dtype))):
        times = [
            draw[a] * (1 if a == b else draw[b]) for a, b in zip(left, right)
        ]
        kept, mated = np.repeat(scores, times), np.repeat(left == right, times)
        if mated.all():  # one speaker, five times
            assert not blocks.nonmated.any()
            continue
        repeated = PooledScores(kept[mated], kept[~mated]).blocks()
        for name, metric in RANK_METRICS.items():
            assert metric(blocks) == pytest.approx(metric(repeated)), name


def test_sums_too_large_for_single_precision_stay_exact():
    data = SpeakerScores.of_pairs([1.0, 0.0], ["a", "a"], ["a", "b"])
    counts = np.array([[2**24 + 1, 1]])
    (blocks,) = data.resampled(counts)
    assert blocks.nonmated.sum() == 2**24 + 1


def test_speakers_may_have_any_name():
    numbers = trials()
    names = [np.array([f"s{s}" for s in side]) for side in numbers[1:]]
    objects = [side.astype(object) for side in names]
    rates = [
        score_intervals(SpeakerScores.of_pairs(numbers[0], *sides))["eer"]
        for sides in (numbers[1:], names, objects)
    ]
    assert rates[0] == rates[1] == rates[2]
    with pytest.raises(ValueError, match="no speaker"):
        SpeakerScores.of_pairs(
            [1.0, 0.0], np.array(["a", None]), np.array(["a", "b"])
        )


def test_sides_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="do not match"):
        SpeakerScores.of_pairs([1.0], ["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match="as many speakers"):
        SpeakerScores(([1.0], ["a", "b"]), ([0.0], ["a"]))


def test_jackknife_of_a_mean_is_the_textbook_interval():
    # One utterance each: the ratio is a mean, its interval Student's on logs.
    errors = np.array([1.0, 2, 3, 4, 5, 7])
    found = ratio_interval(errors, np.ones(6), np.arange(6))
    left_out = np.log((errors.sum() - errors) / 5)
    error = np.sqrt(5 / 6 * np.sum((left_out - left_out.mean()) ** 2))
    assert found.low == pytest.approx(
        errors.mean() * np.exp(-2.570582 * error), rel=1e-6
    )
    assert found.value == pytest.approx(errors.mean())
    assert "6 speakers" in found.warning


def test_bootstrap_of_a_ratio():
    errors, words = np.array([1, 0, 3, 2]), np.array([10, 10, 20, 10])
    found = ratio_interval(errors, words, list("aabb"), "bootstrap", 500)
    assert found.value == pytest.approx(6 / 50)
    assert found.low == pytest.approx(1 / 20)  # speaker a twice
    assert found.high == pytest.approx(5 / 30)  # speaker b twice
    with pytest.raises(ValueError, match="positive"):
        ratio_interval([1, 1], [0, 0], ["a", "b"])
    with pytest.raises(ValueError, match="two or more"):
        ratio_interval([1, 1], [2, 2], ["a", "a"])


@pytest.mark.parametrize("method", ["jackknife", "bootstrap"])
def test_resampling_trials_would_be_far_too_narrow(method):
    scores, left, right = trials(20, 6)
    data = SpeakerScores.of_pairs(scores, left, right)
    found = score_intervals(data, method=method, n_draws=300)["eer"]
    assert found.low <= found.value <= found.high
    rng = np.random.default_rng(0)

    def rows(n):
        return rng.multinomial(n, np.full(n, 1 / n))

    low, high = np.quantile(
        [
            eer(
                data.pooled.blocks(
                    rows(data.pooled.n_mated), rows(data.pooled.n_nonmated)
                )
            )
            for _ in range(300)
        ],
        [0.025, 0.975],
    )
    assert found.high - found.low > 1.5 * (high - low)


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 100))
def test_no_leakage_means_one_half(seed):
    data = SpeakerScores.of_pairs(*trials(30, 3, seed=seed, spread=0.0))
    assert abs(score_intervals(data)["eer"].value - 0.5) < 0.08


def test_classes_keep_their_size_and_their_speakers():
    scores, speakers = [4, 3, 2, 1, 0, 2.5, 3.5, 0], list("aabbccdd")
    positive = np.array([1, 1, 0, 0, 0, 0, 1, 1], bool)
    data = SpeakerScores.of_classes(scores, positive, speakers)
    assert data.classes.tolist() == [True, False, False, True]
    for method in ("jackknife", "bootstrap"):
        found = score_intervals(
            data, method=method, strata=data.classes, n_draws=50
        )["eer"]
        assert found.value == equal_error_rate([4, 3, 3.5, 0], [2, 1, 0, 2.5])
        assert "4 speakers" in found.warning
    draws = speaker_draws(4, 40, 1, data.classes)
    assert (draws[:, data.classes].sum(1) == 2).all()
    with pytest.raises(ValueError, match="'a' occurs in both"):
        SpeakerScores.of_classes([1, 2], [True, False], ["a", "a"])


def test_too_few_speakers_give_the_whole_range_and_say_so():
    data = SpeakerScores.of_pairs([1.0, 0.5], ["a", "a"], ["a", "b"])
    found = score_intervals(data)["eer"]
    assert (found.low, found.high) == (0.0, 1.0)
    assert "too few" in found.warning
    with pytest.raises(ValueError, match="bootstrap draws"):
        score_intervals(data, method="bootstrap", n_draws=50, seed=9)


def test_no_error_at_all_is_not_certainty():
    data = SpeakerScores.of_pairs(*trials(10, 3, spread=1000.0))
    found = score_intervals(data)["eer"]
    assert found.value == found.low == 0.0
    assert found.high == pytest.approx(1 - 0.025**0.1)
    assert "share" in found.warning


def test_an_interval_keeps_to_the_range_of_its_metric():
    data = SpeakerScores.of_pairs(*trials(10, 3, spread=1000.0))
    found = score_intervals(data, ["expected_disclosure", "auc"])
    most = found["expected_disclosure"]
    assert most.value == most.high == pytest.approx(0.5 / np.log(2))
    assert most.low < most.value and found["auc"].high == 1.0
    flat = SpeakerScores.of_pairs(0 * trials()[0], *trials()[1:])
    level = score_intervals(flat)["eer"]
    assert level.low < level.value == 0.5 < level.high


def test_no_word_errors_at_all():
    found = ratio_interval(np.zeros(20), np.full(20, 9), np.arange(20))
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025**0.05)
    percent = scaled(found, 100.0)
    assert percent.high == 100 * found.high and percent.n_speakers == 20
    alone = ratio_interval([1, 0], [5, 0], ["a", "b"])
    assert np.isfinite(alone.high) and "too few" in alone.warning


def test_many_speakers_need_little_memory():
    tracemalloc.start()
    ratio_interval(np.ones(20_000), np.ones(20_000), np.arange(20_000))
    assert tracemalloc.get_traced_memory()[1] < 3e7
    tracemalloc.stop()
    left = np.arange(20_000)
    data = SpeakerScores.of_pairs(
        np.arange(40_000.0),
        np.tile(left, 2),
        np.concatenate([left, left[::-1]]),
    )
    (blocks,) = data.resampled(np.ones((1, 20_000), int))
    assert blocks.mated.sum() == 20_000


def test_unknown_names_are_refused():
    data = SpeakerScores.of_pairs(*trials())
    with pytest.raises(ValueError, match="no rank metric"):
        score_intervals(data, ["err"])
    for call in (
        lambda: score_intervals(data, method="magic"),
        lambda: ratio_interval([1, 2], [2, 2], ["a", "b"], "magic"),
    ):
        with pytest.raises(ValueError, match="'magic'"):
            call()
    for level in (95, 0, -1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            score_intervals(data, level=level)
    with pytest.raises(ValueError, match="two or more"):
        speaker_draws(1, 5)


def test_a_paired_difference_is_sharper_than_two_intervals():
    scores, left, right = trials(20, 5)
    a = SpeakerScores.of_pairs(scores, left, right)
    rng = np.random.default_rng(1)
    noisy = scores + rng.normal(0, 0.5, len(scores))
    b = SpeakerScores.of_pairs(noisy, left, right)
    found = paired_difference(a, b)
    one = score_intervals(a)["eer"]
    assert found.low > 0 and found.p_value < 0.01
    assert found.high - found.low < one.high - one.low
    same = paired_difference(a, a, "min_cllr")
    assert (same.value, same.p_value) == (0.0, 1.0)
    other = SpeakerScores.of_pairs(scores, left + 1, right + 1)
    with pytest.raises(ValueError, match="same speakers"):
        paired_difference(a, other)


def test_a_paired_difference_of_error_rates():
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(20), 10)
    a = rng.poisson(2 + speakers / 10)
    words = np.full(200, 10)
    equal = paired_ratio_difference(
        a, rng.permutation(a.reshape(20, 10), axis=1).ravel(), words, speakers
    )
    assert equal.value == 0.0
    better = paired_ratio_difference(a, a // 2, words, speakers)
    assert better.high < 0 and better.p_value < 1e-3


def test_the_null_of_linkability_is_not_zero():
    rng = np.random.default_rng(0)
    lists = rng.normal(1, 1, 300), rng.normal(-1, 1, 2000)
    null = permutation_null(
        *lists,
        {"linkability": linkability, "eer": lambda p: eer(p.blocks())},
        n_permutations=50,
    )
    assert 0.03 < null["linkability"].low < null["linkability"].mean < 0.15
    assert null["eer"].low < 0.5 < null["eer"].high
    assert linkability(PooledScores(*lists)) > null["linkability"].high
