"""Label-free metrics: analytic values, invariances, and bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_privacy.metrics.abx import Segment, abx, dtw
from speechbrain_privacy.metrics.representation import (
    alignment,
    cluster_report,
    lidar,
    linear_cka,
    rankme,
    uniformity,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_rankme_is_that_of_the_singular_values(shape):
    x = normal(*shape)
    values = np.linalg.svd(x, compute_uv=False)
    shares = values / values.sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert rankme(x) == pytest.approx(expected, rel=1e-6)
    assert rankme(3 * x) == pytest.approx(expected, rel=1e-6)
    turned = x @ np.linalg.qr(normal(shape[1], shape[1], seed=1))[0]
    assert rankme(turned) == pytest.approx(expected, rel=1e-6)


def test_rankme_of_few_directions():
    x = normal(50, 2) @ normal(2, 30, seed=1)
    assert 1 < rankme(x) <= 2 + 1e-6
    assert rankme(np.ones((5, 3))) == pytest.approx(1)
    with pytest.raises(ValueError, match="all frames are the same"):
        rankme(np.zeros((5, 3)))


def test_lidar_counts_the_directions_between_groups():
    groups = np.repeat(np.arange(200), 10)
    between = np.zeros((200, 8))
    between[:, :3] = 5 * normal(200, 3)
    x = between[groups] + 0.1 * normal(2000, 8, seed=1)
    assert lidar(x, groups) == pytest.approx(3, abs=0.15)
    # RankMe sees what varies inside groups too.
    noisy = between[groups] + 20 * normal(2000, 8, seed=1) * (np.arange(8) >= 3)
    assert lidar(noisy + 0.01 * normal(2000, 8, seed=2), groups) < 3.2
    assert rankme(noisy) > 6
    with pytest.raises(ValueError, match="two groups"):
        lidar(x, np.zeros(2000))
    with pytest.raises(ValueError, match="two groups"):
        lidar(x[:10], np.arange(10))


def test_alignment_and_uniformity():
    x = normal(300, 4)
    assert alignment(x, 5 * x) == 0
    assert alignment(x, -x) == pytest.approx(4)
    # Opposite points, e^(-2 * 4), or the same, e^0: half and half (almost).
    two = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert uniformity(two) == pytest.approx(-8)
    assert uniformity(np.ones((9, 2))) == pytest.approx(0)
    pairs = x / np.linalg.norm(x, axis=1, keepdims=True)
    square = ((pairs[:, None] - pairs) ** 2).sum(2)
    off = ~np.eye(300, dtype=bool)
    expected = np.log(np.exp(-2 * square)[off].mean())
    assert uniformity(x) == pytest.approx(expected)
    with pytest.raises(ValueError, match="no direction"):
        uniformity([[0.0, 0.0], [1.0, 0.0]])


def test_cka_against_its_definition():
    x, y = normal(30, 5) + 3, normal(30, 4, seed=1) ** 2

    def hsic(a, b):
        n = len(a)
        k, m = a @ a.T, b @ b.T
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        return (
            np.trace(k @ m)
            + k.sum() * m.sum() / ((n - 1) * (n - 2))
            - 2 * (k @ m).sum() / (n - 2)
        ) / (n * (n - 3))

    expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-9)
    assert linear_cka(1e100 * x, 1e-100 * y) == pytest.approx(
        expected, rel=1e-9
    )
    assert linear_cka(x, 3 * x @ np.linalg.qr(normal(5, 5))[0] - 1) == (
        pytest.approx(1)
    )


def test_cka_of_unrelated_wide_representations_is_zero():
    found = [
        linear_cka(normal(60, 200, seed=i), normal(60, 200, seed=100 + i))
        for i in range(20)
    ]
    assert abs(np.mean(found)) < 0.02


def test_units_beside_phones():
    phones = np.array(list("aaaabbcc"))
    report = cluster_report([0, 0, 1, 1, 2, 2, 2, 3], phones)
    assert report.phone_purity == pytest.approx(7 / 8)
    assert report.cluster_purity == pytest.approx((2 + 2 + 1) / 8)
    assert cluster_report(np.zeros(8), phones).pnmi == 0
    entropy = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    left = 3 / 8 * -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    assert report.pnmi == pytest.approx(1 - left / entropy)
    with pytest.raises(ValueError, match="one phone"):
        cluster_report([0, 1], ["a", "a"])
    with pytest.raises(ValueError, match="phones have shape"):
        cluster_report([0, 1], ["a"])


@pytest.mark.parametrize("metric", [rankme, uniformity])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, np.nan], [1.0, 2.0]], "NaN"),
        ([1.0, 2.0], "shape"),
        ([[1.0, 2.0]], "at least 2"),
    ],
)
def test_bad_frames_have_no_number(metric, x, message):
    with pytest.raises(ValueError, match=message):
        metric(x)


def walked(costs):
    """DTW in loops: the least sum, and the cells of its path."""
    rows, columns = costs.shape
    best = np.full((rows + 1, columns + 1), np.inf)
    cells = np.zeros((rows + 1, columns + 1))
    best[0, 0] = 0
    for i in range(rows):
        for j in range(columns):
            steps = [(i, j), (i, j + 1), (i + 1, j)]
            least = min(steps, key=lambda at: best[at])
            best[i + 1, j + 1] = best[least] + costs[i, j]
            cells[i + 1, j + 1] = cells[least] + 1
    return best[-1, -1] / cells[-1, -1]


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=5
    ),
    seed=st.integers(0, 1000),
)
def test_dtw_of_many_as_of_each(sizes, seed):
    rows, columns = np.max(sizes, axis=0)
    costs = np.random.default_rng(seed).random((len(sizes), rows, columns))
    found = dtw(costs, np.array(sizes))
    for value, matrix, (i, j) in zip(found, costs, sizes, strict=True):
        assert value == pytest.approx(walked(matrix[:i, :j]))


def corpus(n_speakers=3, spread=0.02, voice=0.0, contexts=(None,)):
    """Two phones, several times by each; speakers differ by ``voice``."""
    draw = np.random.default_rng(0)
    said = []
    for s in range(n_speakers):
        for context in contexts:
            for phone, point in (("a", [1, 0, 0]), ("b", [0.9, 0.5, 0])):
                for n in (2, 3, 4, 3):
                    x = np.tile(point, (n, 1)) + spread * draw.normal(
                        size=(n, 3)
                    )
                    x[:, 1] += voice * s
                    said.append(Segment(x, phone, f"s{s}", context))
    return said


def test_abx_of_phones_that_are_apart_and_of_noise():
    for mode in ("within", "across"):
        report = abx(corpus(), mode)
        assert report.error == 0
        assert (report.mode, report.n_pairs) == (mode, 2)
        noise = abx(corpus(6, spread=500.0), mode)
        assert noise.error == pytest.approx(50, abs=12)
    assert abx(corpus(), "within").n_cells == 2 * 3
    assert abx(corpus(), "across").n_cells == 2 * 3 * 2


def test_a_voice_confuses_across_speakers_only():
    # One's a is where another's b is.
    said = corpus(voice=0.5)
    assert abx(said, "within").error < 5
    assert abx(said, "across").error > 30


def test_abx_by_hand_with_ties():
    def one(x, phone, speaker="s"):
        return Segment(np.array([[np.cos(x), np.sin(x)]]), phone, speaker)

    said = [one(0.0, "a"), one(0.4, "a"), one(0.3, "b"), one(-0.4, "b")]
    # X = 0.0: A at 0.4; b at 0.3 is nearer (wrong), at -0.4 equally far (half).
    # X = 0.4: A at 0.4; b at 0.1 is nearer (wrong), at 0.8 not.
    # X = 0.3: B-pair at 0.7; a at 0.3 and 0.1 (both wrong).
    # X = -0.4: at 0.7; a at 0.4 (wrong), 0.8 not.
    report = abx(said)
    assert report.error == pytest.approx(
        100 * ((1.5 / 2 + 1 / 2) / 2 + (2 / 2 + 1 / 2) / 2) / 2
    )
    assert report.n_triples == 8


def test_only_one_context_is_compared_and_draws_are_limited():
    said = corpus(contexts=("x_y", "z_y"))
    assert abx(said).n_cells == 2 * 3 * 2
    few = abx(said, "across", most=2, most_speakers=1, seed=3)
    assert few.n_cells == 2 * 3 * 2
    assert few.n_triples == few.n_cells * 2 * 2 * 2
    apart = [Segment(s.frames, s.phone, s.speaker, s.phone) for s in said]
    with pytest.raises(ValueError, match="no phones can be compared within"):
        abx(apart)


def test_bad_segments_have_no_error():
    good = corpus()
    with pytest.raises(ValueError, match="within or across"):
        abx(good, "any")
    with pytest.raises(ValueError, match="has no frames"):
        abx([*good, Segment(np.zeros((0, 3)), "a", "s0")])
    with pytest.raises(ValueError, match="zero or NaN"):
        abx([*good, Segment(np.zeros((2, 3)), "a", "s0")], most=100)
