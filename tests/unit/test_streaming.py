"""Streamed lists: the bounds hold, and memory does not grow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_privacy.metrics.streaming import ScoreHistogram
from speechbrain_privacy.metrics.verification import evaluate_scores

LISTS = st.lists(
    st.floats(-3, 3, allow_nan=False).map(lambda x: round(x, 2)),
    min_size=12,
    max_size=60,
)


@settings(deadline=None)
@given(LISTS, LISTS, st.sampled_from([2, 7, 64, 1024]))
def test_the_list_lies_within_the_bounds(mated, nonmated, n_bins):
    histogram = ScoreHistogram(-2, 2, n_bins)  # some scores are outside
    for part in np.array_split(mated, 3):
        histogram.add(mated=part)
    histogram.add(nonmated=nonmated)
    report = histogram.report()
    exact = evaluate_scores(mated, nonmated)
    assert (report.n_mated, report.n_nonmated) == (len(mated), len(nonmated))
    for name, (low, high) in report.bounds.items():
        assert low - 1e-9 <= getattr(exact, name) <= high + 1e-9, name
        assert low - 1e-9 <= report.values[name] <= high + 1e-9, name
    outside = min(mated + nonmated) < -2 or max(mated + nonmated) > 2
    assert ("linkability" in report.bounds) == (not outside)
    assert report.values["cllr"] == pytest.approx(exact.cllr)


def test_fine_bins_give_tight_bounds():
    rng = np.random.default_rng(0)
    mated, nonmated = rng.normal(1, 1, 5000), rng.normal(-1, 1, 45000)
    histogram = ScoreHistogram(-8, 8)
    histogram.add(mated, nonmated)
    report = histogram.report()
    exact = evaluate_scores(mated, nonmated)
    for name, (low, high) in report.bounds.items():
        wide = 0.02 if name == "linkability" else 1e-4
        assert high - low < wide, name
        assert report.values[name] == pytest.approx(
            getattr(exact, name), abs=wide
        )


def test_bad_input_is_refused_and_not_counted():
    histogram = ScoreHistogram()
    with pytest.raises(ValueError, match="1 of 2 mated"):
        histogram.add([0.1, np.nan], [0.2])
    histogram.add(mated=[0.1])
    with pytest.raises(ValueError, match="non-mated trials have no weight"):
        histogram.report()
    for low, high, bins in ((1, 1, 9), (0, np.inf, 9), (0, 1, 1)):
        with pytest.raises(ValueError, match="histogram"):
            ScoreHistogram(low, high, bins)
