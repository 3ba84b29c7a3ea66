import sys

import pytest

from speechbrain_privacy.integrations.fairlearn import as_metric_frame
from speechbrain_privacy.metrics.fairness import group_rates

ERRORS = [1, 0, 2, 5, 1, 9]
WORDS = [4, 4, 4, 10, 3, 9]
SEX = ["F", "M", "M", "F", "M", ""]


def test_fairlearn_finds_the_same_rates():
    frame = as_metric_frame(ERRORS, WORDS, SEX)
    report = group_rates(ERRORS, WORDS, list("abcdef"), SEX)
    for group, interval in report.rates.items():
        assert frame.by_group["error_rate"][group] == interval.value
    assert frame.difference()["error_rate"] == pytest.approx(report.gap.value)
    assert frame.overall["words"] == 25  # nobody's utterance is left out
    assert frame.by_group["utterances"].tolist() == [2, 3]


def test_groups_cross_and_are_controlled():
    accent = ["US", "US", "GB", "GB", "GB", "GB"]
    frame = as_metric_frame(ERRORS, WORDS, [SEX, accent])
    assert frame.by_group["errors"]["M, GB"] == 3
    frame = as_metric_frame(ERRORS, WORDS, SEX, accent)
    assert frame.by_group["errors"]["GB", "M"] == 3


def test_what_cannot_be_a_frame_says_so(monkeypatch):
    with pytest.raises(ValueError, match="negative"):
        as_metric_frame([-1], [1], ["a"])
    with pytest.raises(ValueError, match="group is empty"):
        as_metric_frame([1], [1], [""])
    monkeypatch.setitem(sys.modules, "fairlearn.metrics", None)
    with pytest.raises(ImportError, match="\\[fairness\\]"):
        as_metric_frame([1], [1], ["a"])
