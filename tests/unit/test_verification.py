"""Metrics of score lists: reference values, analytic values, refusals."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from speechbrain_privacy.metrics.scores import PooledScores
from speechbrain_privacy.metrics.verification import (
    RANK_METRICS,
    VerificationReport,
    actual_dcf,
    auc,
    cllr,
    equal_error_rate,
    evaluate_scores,
    min_dcf,
)

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=30).map(
    np.array
)
NAMES = (
    "all_equal",
    "gauss_dp0_2000x8000",
    "gauss_dp2_1000x9000",
    "gauss_dp6_1000x9000",
    "llr_calibrated_dp2",
    "small_25x200",
    "ties_5levels",
    "tiny_3x3",
    "tiny_4x4_sep",
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


def test_there_are_nine_reference_vectors(vectors):
    assert sorted(vectors) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_reference_vector(vectors, name):
    content = vectors[name]
    values = content["values"]
    report = evaluate_scores(content["mated"], content["non_mated"])
    near = {
        ("eer", "speechbrain_EER", "eer", 1e-6),
        ("rocch_eer", "pyllr", "rocch_eer", 1e-8),
        ("rocch_eer", "pybosaris", "rocch_eer", 1e-12),
        ("cllr", "pyllr", "cllr", 1e-8),
        ("min_cllr", "pyllr", "cllr_min", 1e-8),
        ("min_cllr", "pybosaris", "cllr_min", 1e-12),
        ("expected_disclosure", "zebra_core", "dece", 1e-6),
        ("interpolated_eer", "sklearn_eer", "eer_brentq", 1e-9),
    }
    if name not in ("all_equal", "ties_5levels"):  # the peer mistakes ties
        near.add(
            (
                "worst_case_disclosure",
                "zebra_core",
                "max_abs_log10llr_laplace",
                1e-6,
            )
        )
    for ours, peer, theirs, tolerance in near:
        assert getattr(report, ours) == pytest.approx(
            values[peer][theirs], abs=tolerance
        ), (ours, peer)


@pytest.mark.parametrize("name", NAMES)
def test_linkability_of_reference_vector(vectors, name):
    content = vectors[name]
    exact = content["values"]["crosscheck"]
    lists = content["mated"], content["non_mated"]
    found = evaluate_scores(*lists)
    rough = evaluate_scores(*lists, integration="trapezoid")
    if "D_sys_error" in exact:  # fewer than ten mated trials
        assert found.linkability is None and rough.linkability is None
        assert any("not defined for fewer than 10" in w for w in found.warnings)
        return
    assert found.linkability == pytest.approx(exact["D_sys_sum"], abs=1e-12)
    assert rough.linkability == pytest.approx(exact["D_sys_trapz"], abs=1e-12)
    if name != "all_equal":  # NaN
        peer = content["values"]["vpc24_link"]["D_sys"]
        assert rough.linkability == pytest.approx(peer, abs=1e-12)


@given(SCORES, SCORES)
def test_eer_is_its_definition(mated, nonmated):
    assert equal_error_rate(mated, nonmated) == pytest.approx(
        naive_eer(mated, nonmated)
    )


@given(SCORES, SCORES)
def test_auc_is_its_definition(mated, nonmated):
    above = (mated[:, None] > nonmated).mean()
    equal = (mated[:, None] == nonmated).mean()
    assert auc(PooledScores(mated, nonmated).blocks()) == pytest.approx(
        above + equal / 2
    )


@given(SCORES, SCORES, st.floats(0.01, 0.99))
def test_min_dcf_is_its_definition(mated, nonmated, prior):
    costs = [
        prior * np.mean(mated <= t) + (1 - prior) * np.mean(nonmated > t)
        for t in [-np.inf, *mated, *nonmated]
    ]
    found = min_dcf(PooledScores(mated, nonmated).blocks(), prior)
    assert found == pytest.approx(min(costs) / min(prior, 1 - prior))
    assert found <= actual_dcf(mated, nonmated, prior) + 1e-12


def test_costs_that_make_no_sense_are_refused():
    for prior, cost in ((0.0, 1.0), (1.0, 1.0), (0.5, 0.0)):
        with pytest.raises(ValueError, match="prior between 0 and 1"):
            actual_dcf([1.0], [0.0], prior, miss_cost=cost)


def test_gaussian_scores_give_their_known_values():
    rng = np.random.default_rng(0)
    d = 2.0
    mated = d * (rng.normal(d / 2, 1, 200_000))
    nonmated = d * (rng.normal(-d / 2, 1, 200_000))
    report = evaluate_scores(mated, nonmated)
    for rate in (report.eer, report.interpolated_eer, report.rocch_eer):
        assert rate == pytest.approx(norm.cdf(-d / 2), abs=2e-3)
    assert report.auc == pytest.approx(norm.cdf(d / np.sqrt(2)), abs=2e-3)
    # They are log-likelihood ratios: calibration has nothing to add.
    assert report.cllr == pytest.approx(report.min_cllr, abs=2e-3)
    x = np.linspace(-12, 12, 20001)
    expected = np.trapezoid(norm.pdf(x, d / 2) * np.log2(1 + np.exp(-d * x)), x)
    assert report.cllr == pytest.approx(expected, abs=5e-3)


def test_cllr_survives_huge_scores():
    assert cllr([1e4, 1e300], [-1e4, -1e300]) == 0.0
    assert cllr([-1e4], [1e4]) == pytest.approx(1e4 / np.log(2))


@given(SCORES, SCORES)
def test_metrics_agree_with_each_other(mated, nonmated):
    report = evaluate_scores(mated, nonmated)
    assert report.rocch_eer <= report.interpolated_eer + 1e-12
    assert report.rocch_eer <= 0.5
    assert 0 <= report.min_cllr <= min(1.0, report.cllr) + 1e-12
    assert report.mutual_information == 1 - report.min_cllr
    assert -1e-9 <= report.expected_disclosure <= 0.5 / np.log(2) + 1e-12
    assert report.worst_case_disclosure >= 0
    assert report.min_dcf <= 1 + 1e-12


def test_a_report_survives_json(tmp_path):
    report = evaluate_scores([1.0, 2.0], [0.0, 1.5])
    assert VerificationReport.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["linkability"] is None


def test_rank_metrics_are_fields_of_the_report():
    report = evaluate_scores([1.0, 2.0, 2.5], [0.0, 1.5])
    blocks = PooledScores([1.0, 2.0, 2.5], [0.0, 1.5]).blocks()
    for name, metric in RANK_METRICS.items():
        assert getattr(report, name) == metric(blocks)


def test_an_unknown_integration_is_refused():
    with pytest.raises(ValueError, match="'sum' or 'trapezoid'"):
        evaluate_scores(np.arange(20), np.arange(20), integration="simpson")
