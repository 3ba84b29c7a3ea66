"""Trials with speakers: what is reported for all and for each."""

import numpy as np
import pytest

from speechbrain_privacy.metrics.disclosure import linkability
from speechbrain_privacy.metrics.evaluation import (
    TrialsReport,
    binned,
    block_linkability,
    evaluate_trials,
    speaker_eers,
)
from speechbrain_privacy.metrics.trials import SpeakerScores
from speechbrain_privacy.metrics.uncertainty import speaker_draws
from speechbrain_privacy.metrics.verification import (
    equal_error_rate,
    evaluate_scores,
)


def trials(n_speakers=10, n_utterances=6, seed=0):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n_speakers), n_utterances)
    x = rng.normal(size=(n_speakers, 6))[who] + rng.normal(size=(len(who), 6))
    i, j = np.triu_indices(len(who), 1)
    return (x @ x.T)[i, j], who[i], who[j]


def test_a_report_of_trials():
    scores, left, right = trials()
    report = evaluate_trials(scores, left, right, n_permutations=10)
    mated = left == right
    assert report.overall == evaluate_scores(scores[mated], scores[~mated])
    for name, interval in report.intervals.items():
        assert interval.value == pytest.approx(getattr(report.overall, name))
        assert interval.low <= interval.value <= interval.high
        assert name in report.null
    assert report.null["linkability"].mean < report.overall.linkability
    rates = list(report.by_speaker.values())
    assert len(rates) == 10 and rates == sorted(rates)
    assert rates[0] <= report.exposed <= rates[1]
    assert TrialsReport.from_json(report.to_json()) == report


def test_the_eer_of_a_speaker_is_that_of_the_speakers_trials():
    scores, left, right = trials(4, 3)
    found = speaker_eers(scores, left, right)
    for speaker in range(4):
        of = (left == speaker) | (right == speaker)
        mated = of & (left == right)
        expected = equal_error_rate(scores[mated], scores[of & ~mated])
        assert found[str(speaker)] == expected


def test_a_speaker_with_one_utterance_has_no_rate():
    found = speaker_eers([0.9, 0.1, 0.2], list("aaa"), list("abb"))
    assert list(found) == ["a"]


def test_resampled_linkability_is_that_of_the_resampled_list():
    scores, left, right = trials(8, 8)
    data = SpeakerScores.of_pairs(scores, left, right)
    edges = data.pooled.bin_edges()
    bins = binned(data)
    assert block_linkability(bins.blocks()) == pytest.approx(
        linkability(data.pooled)
    )
    for draw, blocks in zip(*2 * [speaker_draws(8, 5)]):
        times = draw[left] * np.where(left == right, 1, draw[right])
        kept, mated = np.repeat(scores, times), np.repeat(left == right, times)
        (blocks,) = bins.resampled(draw[None])
        m, n = (
            np.histogram(kept[which], edges)[0] / which.sum()
            for which in (mated, ~mated)
        )
        local = np.divide(m - n, m + n, out=0 * m, where=m + n > 0)
        assert block_linkability(blocks) == pytest.approx(
            m @ np.maximum(local, 0)
        )


def test_few_trials_are_said_to_be_few():
    report = evaluate_trials(*trials(3, 2))
    assert report.overall.linkability is None
    assert "linkability" not in report.intervals
    assert report.overall.warnings
