"""Groups: rates, gaps, odds, entropy, and the mixed model."""

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from speechbrain_privacy.metrics.evaluation import evaluate_trials
from speechbrain_privacy.metrics.fairness import (
    crossed,
    equal_odds,
    generalised_entropy,
    group_rates,
    privacy_by_group,
)
from speechbrain_privacy.metrics.poisson import poisson_mixed_model


def corpus(ratio=1.0, sd=0.3, n_speakers=40, seed=0):
    """Errors of utterances, half of the speakers in each group."""
    rng = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(n_speakers), 8)
    group = np.where(speaker % 2 == 0, "F", "M")
    own = np.exp(sd * rng.normal(size=n_speakers))
    rate = 0.1 * np.where(group == "F", ratio, 1.0) * own[speaker]
    words = rng.integers(5, 15, len(speaker))
    return rng.poisson(rate * words), words, speaker, group


def test_rates_of_groups_by_hand():
    report = group_rates(
        [1, 2, 2, 4, 9], [10, 10, 10, 10, 10], list("abcdz"),
        ["F", "F", "M", "M", ""],
    )  # fmt: skip
    assert {n: r.value for n, r in report.rates.items()} == {
        "F": 0.15,
        "M": 0.3,
    }
    assert report.gap.value == pytest.approx(0.15)
    assert (report.worst, report.best, report.ratio) == ("M", "F", 2.0)
    assert report.speakers == {"F": 2, "M": 2}
    assert report.speaker_sd == pytest.approx(np.std([1, 2, 2, 4], ddof=1) / 10)
    assert "1 utterances have no group" in report.warnings[0]
    # Welch's interval of two independent means.
    half = report.gap.high - report.gap.value
    freedom = (0.05**2 + 0.1**2) ** 2 / (0.05**4 + 0.1**4)
    assert half == pytest.approx(
        student.ppf(0.975, freedom) * np.sqrt(0.05**2 + 0.1**2)
    )


def test_small_groups_do_not_raise_false_alarms():
    rng = np.random.default_rng(0)
    groups = np.repeat(["F", "M"], [3, 40])
    found = [
        group_rates(
            rng.poisson(20 * np.exp(0.4 * rng.normal(size=43))),
            np.full(43, 100),
            np.arange(43),
            groups,
        ).gap.p_value
        for _ in range(200)
    ]
    assert np.mean(np.array(found) < 0.05) < 0.13  # 0.18 with pooled freedom


def test_more_groups_do_not_raise_more_false_alarms():
    rng = np.random.default_rng(0)
    groups = np.tile(list("abcdef"), 10)
    found = [
        group_rates(
            rng.poisson(20 * np.exp(0.3 * rng.normal(size=60))),
            np.full(60, 100),
            np.arange(60),
            groups,
        ).gap
        for _ in range(150)
    ]
    assert np.mean([gap.p_value < 0.05 for gap in found]) < 0.1
    assert np.mean([gap.low > 0 for gap in found]) < 0.1


def test_all_speakers_agreeing_is_not_certainty():
    gap = group_rates([1, 1, 2, 2], [10] * 4, list("abcd"), list("FFMM")).gap
    assert gap.p_value == 0.125


def test_missing_groups_are_no_group():
    names, unknown = crossed(["F", None, float("nan"), ""])
    assert unknown.tolist() == [False, True, True, True]
    assert names.tolist() == ["F", "", "", ""]


def test_a_gap_is_found_where_there_is_one():
    real = group_rates(*corpus(ratio=2.0))
    assert real.worst == "F" and real.gap.low > 0 and real.gap.p_value < 0.01
    assert group_rates(*corpus(ratio=1.0)).gap.p_value > 0.05
    perfect = group_rates([0, 0, 1, 1], [9] * 4, list("abcd"), list("FFMM"))
    assert perfect.ratio is None and perfect.best == "F"


def test_groups_are_crossed():
    sex, accent = ["F", "M", "F"], ["US", "UK", ""]
    names, unknown = crossed([sex, accent])
    assert names.tolist() == ["F, US", "M, UK", "F, "]
    assert unknown.tolist() == [False, False, True]
    assert crossed(np.array(sex))[0].tolist() == sex


@pytest.mark.parametrize(
    "data, message",
    [
        (([1], [1, 2], ["a", "b"], ["F", "M"]), "of one length"),
        (([-1, 1], [1, 2], ["a", "b"], ["F", "M"]), "error count is negative"),
        (([0.5, 1], [1, 2], ["a", "b"], ["F", "M"]), "counts, not rates"),
        (([1, 1], [1, np.nan], ["a", "b"], ["F", "M"]), "word count"),
        (([1, 1], [1, 2], ["a", "b"], ["F", "F"]), "two groups"),
        (([1, 1], [1, 2], ["a", "b"], ["F", "M"]), "has one speaker"),
    ],
)
def test_counts_that_cannot_be_compared_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        group_rates(*data)


def test_equal_odds():
    truth = [1, 1, 0, 0] * 2
    decisions = [1, 1, 0, 0, 1, 0, 0, 0]
    found = equal_odds(decisions, truth, list("aaaabbbb"))
    assert (found.miss, found.false_alarm, found.equal_odds) == (0.5, 0.0, 0.5)
    with pytest.raises(ValueError, match="one kind"):
        equal_odds([1, 0], [1, 0], list("ab"))
    with pytest.raises(ValueError, match="two groups"):
        equal_odds([1, 0], [1, 0], list("aa"))


def test_generalised_entropy_of_a_log_normal():
    x = np.exp(0.5 * np.random.default_rng(0).normal(size=400_000))
    assert generalised_entropy(x, 0) == pytest.approx(0.125, abs=2e-3)
    assert generalised_entropy(x, 1) == pytest.approx(0.125, abs=2e-3)
    assert generalised_entropy(x, 2) == pytest.approx(
        (np.exp(0.25) - 1) / 2, abs=5e-3
    )
    for bad, alpha in (([], 2), ([-1.0], 2), ([0.0, 1.0], 0), ([0.0], 2)):
        with pytest.raises(ValueError, match="benefit"):
            generalised_entropy(bad, alpha)


def trials(spread, seed=0):
    """Speakers of two groups who differ by as much as is said."""
    rng = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(40), 4)
    x = np.where(speakers % 2, *spread)[:, None] * rng.normal(size=(40, 6))[
        speakers
    ] + rng.normal(size=(160, 6))
    i, j = np.triu_indices(160, 1)
    return (x @ x.T)[i, j], speakers[i], speakers[j]


def test_privacy_by_group():
    group_of = {s: "M" if s % 2 else "F" for s in range(40)}
    scores, left, right = trials((3.0, 0.5))
    found = privacy_by_group(scores, left, right, group_of)
    assert found.pairs["eer"] == ("M", "F")
    assert found.gaps["eer"].low > 0 and found.gaps["eer"].p_value < 1e-3
    women = (left % 2 == 0) & (right % 2 == 0)
    alone = evaluate_trials(scores[women], left[women], right[women])
    assert found.metrics["F"]["eer"] == alone.intervals["eer"]
    same = privacy_by_group(*trials((1.0, 1.0)), group_of)
    assert same.gaps["eer"].p_value > 0.05
    for few, message in (
        ({0: "F"}, "two groups"),
        ({0: "F", 1: "M", 3: "M"}, "group 'F' has trials of one kind"),
        ({0: "F", 2: "F", 1: "M", 3: "M", 5: "M"}, "group 'F' has 2 speakers"),
    ):
        with pytest.raises(ValueError, match=message):
            privacy_by_group(scores, left, right, few)


def test_the_mixed_model_finds_what_was_simulated():
    model = poisson_mixed_model(
        *corpus(ratio=2.0, sd=0.4, n_speakers=400), reference="M"
    )
    effect = model.effects["F"]
    assert effect["effect"] == pytest.approx(np.log(2), abs=3 * effect["error"])
    assert effect["error"] < 0.08 and effect["p_value"] < 1e-6
    assert model.speaker_sd == pytest.approx(0.4, abs=0.08)
    assert model.intercept == pytest.approx(np.log(0.1), abs=0.15)
    assert effect["low"] < effect["ratio"] < effect["high"]


def test_the_mixed_models_intervals_cover():
    """A Poisson model without speakers would cover about half as often."""
    covered = [
        effect["low"] < 1.5 < effect["high"]
        for seed in range(40)
        for effect in poisson_mixed_model(
            *corpus(ratio=1.5, sd=0.5, seed=seed), reference="M", n_nodes=9
        ).effects.values()
    ]
    assert np.mean(covered) > 0.85


def test_quadrature_is_the_integral():
    from speechbrain_privacy.metrics.poisson import _hermite, _log_likelihood

    y, eta, sd = np.array([7.0]), np.array([1.2]), 0.8
    u = np.linspace(-9, 9, 200_001)
    mean = np.exp(eta + sd * u)
    density = np.exp(7 * np.log(mean) - mean - np.log(5040.0)) * norm.pdf(u)
    exact = np.log(np.trapezoid(density, u))
    assert _log_likelihood(y, eta, sd, *_hermite(25)) == pytest.approx(
        exact, abs=1e-6
    )
    assert _log_likelihood(y, eta, sd, *_hermite(1)) == pytest.approx(
        exact, abs=0.05
    )


def test_speakers_without_effect_of_their_own():
    model = poisson_mixed_model(*corpus(ratio=1.0, sd=0.0, n_speakers=100))
    assert model.speaker_sd < 0.15
    assert model.effects[next(iter(model.effects))]["p_value"] > 0.01


@pytest.mark.parametrize(
    "change, message",
    [
        ({"groups": ["F", "M"] * 160}, "more than one group"),
        ({"reference": "X"}, "no group 'X'"),
        ({"errors": np.where(corpus()[3] == "F", 0, 1)}, "'F' makes no errors"),
        ({"speakers": ["a"] * 160 + ["b"] * 160,
          "groups": ["F"] * 160 + ["M"] * 160}, "too few"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_fitted_are_refused(change, message):
    errors, words, speakers, groups = corpus()
    settings = {
        "errors": errors,
        "words": words,
        "speakers": speakers,
        "groups": groups,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        poisson_mixed_model(**settings)
