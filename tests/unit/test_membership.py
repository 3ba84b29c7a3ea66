"""Membership inference, on losses whose truth is known."""

import numpy as np
import pytest
from scipy.stats import norm

from speechbrain_privacy.attacks.membership import (
    by_speaker,
    lira_scores,
    threshold_scores,
)
from speechbrain_privacy.metrics.scores import PooledScores
from speechbrain_privacy.metrics.verification import auc


def losses(n_models, n=400, gap=0.5, hardness=3.0, seed=0):
    """Losses of models that know their members a little better.

    Utterances differ far more in hardness than membership changes.
    """
    rng = np.random.default_rng(seed)
    members = rng.random((n_models + 1, n)) < 0.5
    hard = hardness * rng.normal(size=n)
    found = hard - gap * members + 0.3 * rng.normal(size=members.shape)
    return found[0], members[0], found[1:], members[1:]


def auc_of(scores, members):
    return auc(PooledScores(scores[members], scores[~members]).blocks())


def test_shadow_models_see_what_a_threshold_does_not():
    target, truth, shadows, members = losses(20)
    plain = auc_of(threshold_scores(target), truth)
    assert 0.5 < plain < 0.6
    lira = auc_of(lira_scores(target, shadows, members), truth)
    # Two normals 0.5 apart, spread 0.3 each.
    assert lira == pytest.approx(norm.cdf(0.5 / 0.3 / np.sqrt(2)), abs=0.04)


def test_few_models_share_their_spread():
    target, truth, shadows, members = losses(8)
    kept = (members.sum(0) >= 2) & ((~members).sum(0) >= 2)
    data = target[kept], shadows[:, kept], members[:, kept]
    shared = auc_of(lira_scores(*data), truth[kept])
    own = auc_of(lira_scores(*data, shared_spread=False), truth[kept])
    assert shared > own + 0.02


def test_without_members_among_the_shadows_the_attack_is_offline():
    target, truth, shadows, _ = losses(12)
    target = target - 0.5 * truth  # as if the gap were one
    outside = np.zeros(shadows.shape, dtype=bool)
    clean = shadows + 0.5 * losses(12)[3]
    scores = lira_scores(target, clean, outside)
    assert auc_of(scores, truth) > 0.9
    assert np.isfinite(scores).all()


def test_no_gap_no_finding():
    target, truth, shadows, members = losses(20, n=2000, gap=0.0)
    assert (
        abs(auc_of(lira_scores(target, shadows, members), truth) - 0.5) < 0.04
    )


def test_speakers_are_easier_than_utterances():
    target, truth, shadows, members = losses(20, n=1000)
    speakers = np.repeat(np.arange(100), 10)
    # Whole speakers are members or not.
    whole = np.random.default_rng(5).random(100) < 0.5
    shift = whole[speakers].astype(float) - truth
    scores = lira_scores(target - 0.5 * shift, shadows, members)
    single = auc_of(scores, whole[speakers])
    names, means = by_speaker(scores, speakers)
    assert names.tolist() == list(range(100))
    assert auc_of(means, whole) > max(0.97, single)


def test_losses_that_do_not_fit_are_refused():
    target, _, shadows, members = losses(4, n=5)
    for change, message in (
        ((target[:3], shadows, members), "shadow losses and members"),
        ((target * np.nan, shadows, members), "NaN"),
        ((target, shadows, np.ones_like(members)), "left out of 0"),
    ):
        with pytest.raises(ValueError, match=message):
            lira_scores(*change)
    some = np.zeros_like(members)
    some[0, 1:] = True  # one utterance has no model
    with pytest.raises(ValueError, match="or none in any"):
        lira_scores(target, shadows, some)
    with pytest.raises(ValueError, match="NaN"):
        threshold_scores([np.inf])
