"""The two legal criteria: linking and singling out."""

import numpy as np
import pytest

from speechbrain_privacy.metrics.legal import (
    _predicate_runs,
    criteria_of_trials,
    guessing,
    legal_criteria,
    linking_probability,
    singling_out_probability,
)
from speechbrain_privacy.metrics.uncertainty import intervals_of


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


def embedded(n_speakers, n_items, leak, seed=0):
    """Scores of all pairs of items, their speakers."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n_speakers), n_items)
    x = leak * rng.normal(size=(n_speakers, 16))[who]
    x = x + rng.normal(size=x.shape)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    scores = x @ x.T
    np.fill_diagonal(scores, np.nan)
    return scores, who


def test_criteria_tell_what_leaks_from_what_does_not():
    open_ = legal_criteria(*_thrice(embedded(30, 6, 5.0)))
    assert open_["linking"].value > 0.95
    assert open_["singling_out"].value > 0.8
    hidden = legal_criteria(*_thrice(embedded(30, 6, 0.0)))
    for name, level in guessing(10).items():
        interval = hidden[name]
        assert interval.low < level < interval.high
        assert interval.n_speakers == 30
        assert interval.high - interval.low < 0.25


def _thrice(found):
    scores, who = found
    return scores, who, who


def test_intervals_leave_each_speaker_out_as_shorter_lists_would():
    scores, who = embedded(7, 3, 0.3)
    scores = np.round(scores, 1)  # ties
    found = legal_criteria(scores, who, who, set_size=3)["linking"]

    def by_hand(kept):
        first = 3 * np.array(kept)
        return np.mean(
            [
                linking_probability(scores[np.ix_(first, first + k)].T, 3)
                for k in (1, 2)
            ]
        )

    everybody = range(7)
    shorter = [by_hand([i for i in everybody if i != j]) for j in everybody]
    value = by_hand(list(everybody))
    wanted = intervals_of({"x": value}, {"x": np.array(shorter)}, 7)["x"]
    for end in ("value", "low", "high"):
        assert getattr(found, end) == pytest.approx(getattr(wanted, end))


def test_singling_out_leaves_speakers_out_by_leaving_runs_out():
    scores, who = embedded(6, 2, 1.0)
    found = legal_criteria(scores, who, who, set_size=3)
    # One item to search for is left of each speaker: no calibration.
    assert set(found) == {"linking"}
    scores, who = embedded(6, 3, 1.0)
    found = legal_criteria(scores, who, who, set_size=3, seed=5)["singling_out"]
    first = 3 * np.arange(6)
    items = [scores[np.ix_(first, first + k)] for k in (1, 2)]
    isolated, sets = zip(
        *(
            _predicate_runs(items[k], items[1 - k][..., None], 3, 100, 5 + k)
            for k in (0, 1)
        )
    )
    isolated, sets = np.array(isolated), np.array(sets)
    left_out = [isolated[~(sets == j).any(3)].mean() for j in range(6)]
    wanted = intervals_of({"x": isolated.mean()}, {"x": np.array(left_out)}, 6)[
        "x"
    ]
    assert found.value == isolated.mean()
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


def test_criteria_leave_out_who_cannot_be_searched_for():
    scores, who = embedded(5, 3, 1.0)
    items = who.copy()
    items[items == 2] = 9  # speaker 2 has models only, 9 has items only
    assert legal_criteria(scores, who, items)["linking"].n_speakers == 4
    one = np.isin(np.arange(15) % 3, [0, 1])
    alone = legal_criteria(scores[:, one], who, who[one])
    assert set(alone) == {"linking"}  # nothing is left to calibrate on
    with pytest.raises(ValueError, match="0 speakers have a model and an item"):
        legal_criteria(np.full((15, 15), np.nan), who, who)
    with pytest.raises(ValueError, match="15 x 15, the speakers 15 x 14"):
        legal_criteria(scores, who, who[1:])


def test_a_list_of_all_pairs_is_the_matrix():
    scores, who = embedded(8, 4, 1.0)
    i, j = np.triu_indices(32, 1)
    names = np.array([f"u{k}" for k in range(32)])
    wanted = legal_criteria(scores, who.astype(str), who.astype(str))
    found = criteria_of_trials(scores[i, j], names[i], names[j], who[i], who[j])
    assert found == wanted
    # Speaker models and items of their own names.
    models = np.arange(0, 32, 4)
    items = np.setdiff1d(np.arange(32), models)
    i, j = (part.ravel() for part in np.meshgrid(models, items, indexing="ij"))
    found = criteria_of_trials(
        scores[i, j], names[i] + "-model", names[j], who[i], who[j]
    )
    assert found == wanted


def test_a_sparse_list_has_no_matrix():
    i = np.arange(100)
    with pytest.raises(ValueError, match="100 trials of 101 enrolments"):
        criteria_of_trials(i, i, i + 1, i, i + 1)


def test_a_name_is_one_speaker():
    with pytest.raises(ValueError, match="'b' is spoken by 'z' and by 'y'"):
        criteria_of_trials(
            [1, 2], ["a", "b"], ["b", "c"], list("xz"), list("yz")
        )
    with pytest.raises(ValueError, match="lacks the name"):
        criteria_of_trials(
            [1, 2], ["a", None], ["b", "c"], list("xy"), list("yz")
        )


def test_few_models_and_many_items_are_a_matrix():
    scores, who = embedded(6, 60, 1.0)
    models = np.arange(0, 360, 60)
    items = np.setdiff1d(np.arange(360), models)
    i, j = (part.ravel() for part in np.meshgrid(models, items))
    names = np.arange(360).astype(str)
    found = criteria_of_trials(
        scores[i, j], np.char.add("m", names[i]), names[j], who[i], who[j]
    )
    assert found["linking"].n_speakers == 6
