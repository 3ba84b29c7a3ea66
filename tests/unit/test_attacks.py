"""Embedders, back-ends and classifiers of the attackers."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from speechbrain_privacy.attacks.backends import (
    PLDA,
    Cosine,
    SNorm,
    enrol,
    procrustes,
)
from speechbrain_privacy.attacks.classifiers import ClassifierAttacker
from speechbrain_privacy.attacks.ecapa import ECAPA
from speechbrain_privacy.attacks.network import NetworkAttacker
from speechbrain_privacy.attacks.speaker import SpeakerAttacker
from speechbrain_privacy.attacks.statistics import (
    StatisticsEmbedder,
    _principal_axes,
)
from speechbrain_privacy.attacks.tdnn import TDNN
from speechbrain_privacy.attacks.text import TextEmbedder, Transcripts
from speechbrain_privacy.audit.representations import Representations
from speechbrain_privacy.metrics.verification import (
    equal_error_rate,
    evaluate_scores,
)


def eer_of(scores, speakers):
    i, j = np.triu_indices(len(speakers), 1)
    mated = speakers[i] == speakers[j]
    return equal_error_rate(scores[i, j][mated], scores[i, j][~mated])


def embeddings(n_speakers, n_utterances, seed, noise=1.0):
    """Speakers differ in four of twenty directions, drowned in the others."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n_speakers), n_utterances)
    x = noise * rng.normal(size=(len(who), 20)) * np.linspace(0.2, 3, 20)
    x[:, :4] += rng.normal(size=(n_speakers, 4))[who]
    return x, who


def test_plda_finds_the_directions_in_which_speakers_differ():
    train, test = embeddings(100, 6, 0), embeddings(40, 5, 1)
    rates = {}
    for backend in (Cosine(), PLDA(shrinkage=0.05)):
        backend.fit(*train)
        models, counts = enrol(test[0], [[i] for i in range(200)])
        scores = backend.score(models, test[0], counts)
        rates[type(backend)] = eer_of(scores, test[1])
    assert rates[PLDA] < 0.15 < 0.3 < rates[Cosine]


def test_plda_scores_are_likelihood_ratios():
    x, who = embeddings(200, 5, 0)
    backend = PLDA(dim=3, shrinkage=0.0).fit(x, who)
    for count in (1, 3):
        models, counts = enrol(x, [range(10, 10 + count)])
        found = backend.score(models, x[:4], counts)[0]
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        m, *tests = (
            (point - backend.mean) @ backend.project
            for point in (unit[10 : 10 + count].mean(0), *unit[:4])
        )
        b, eye = np.diag(backend.between), np.eye(len(backend.between))
        # The mean of `count` utterances, and one more.
        same = np.block([[b + eye / count, b], [b, b + eye]])
        apart = np.block([[b + eye / count, 0 * b], [0 * b, b + eye]])
        for score, t in zip(found, tests):
            z = np.concatenate([m, t])
            expected = multivariate_normal.logpdf(
                z, cov=same
            ) - multivariate_normal.logpdf(z, cov=apart)
            assert score == pytest.approx(expected, abs=1e-8)


def test_plda_with_several_enrolments_is_calibrated():
    """Treating the mean of five as one more unit vector would not be."""
    train, (x, who) = embeddings(200, 8, 0), embeddings(60, 10, 1)
    backend = PLDA(dim=4, shrinkage=0.0).fit(*train)
    groups = [np.flatnonzero(who == s)[:5] for s in range(60)]
    tests = np.concatenate([np.flatnonzero(who == s)[5:] for s in range(60)])
    scores = backend.score(*enrol(x, groups)[:1], x[tests], np.full(60, 5))
    mated = np.arange(60)[:, None] == who[tests]
    report = evaluate_scores(scores[mated], scores[~mated])
    assert report.cllr < report.min_cllr + 0.05


def test_plda_needs_speakers_with_several_utterances():
    for who in (np.zeros(10), np.arange(10)):
        with pytest.raises(ValueError, match="two speakers or more"):
            PLDA().fit(np.random.default_rng(0).normal(size=(10, 3)), who)


def test_plda_of_speakers_who_do_not_differ_still_scores():
    x = np.random.default_rng(0).normal(size=(60, 4))
    scores = PLDA().fit(x, np.repeat(np.arange(20), 3)).score(x, x)
    assert np.isfinite(scores).all()


def test_s_norm_is_its_definition():
    x, who = embeddings(12, 4, 0)
    y = embeddings(3, 2, 1)[0]
    norm = SNorm(Cosine, top=5).fit(x, who)
    raw = Cosine().fit(x, who)
    cohort = np.stack(
        [(x[who == s] / np.linalg.norm(x[who == s], axis=1)[:, None]).mean(0)
         for s in range(12)]
    )  # fmt: skip
    to_cohort = np.sort(raw.score(y, cohort), axis=1)[:, -5:]
    mean, std = to_cohort.mean(1), to_cohort.std(1)
    expected = 0.5 * (
        (raw.score(y, y) - mean[:, None]) / std[:, None]
        + (raw.score(y, y) - mean) / std
    )
    np.testing.assert_allclose(norm.score(y, y), expected, atol=1e-9)


def recordings(n_speakers, seed, n_utterances=5):
    """Frames with equal means and variances, but a speaker's correlation."""
    rng = np.random.default_rng(seed)
    data, who = {}, []
    for s in range(n_speakers):
        mix = np.linalg.qr(rng.normal(size=(6, 6)))[0] * [3, 2, 1, 1, 0.5, 0.2]
        for u in range(n_utterances):
            x = rng.normal(size=(int(rng.integers(60, 120)), 6)) @ mix.T
            x = (x - x.mean(0)) / x.std(0)
            data[f"{s}-{u}"] = x
            who.append(f"s{s}")
    return Representations.of(data), np.array(who)


def test_covariances_identify_where_means_say_nothing():
    attacker = SpeakerAttacker(
        StatisticsEmbedder, {"cosine": Cosine, "plda": PLDA}
    )
    attacker.fit(*recordings(40, 0))
    data, who = recordings(20, 1)
    for scores in attacker.score(data, [[i] for i in range(len(who))]).values():
        assert eer_of(scores, who) < 0.1
    shuffled = np.random.default_rng(0).permutation(who)
    assert abs(eer_of(scores, shuffled) - 0.5) < 0.1


def test_more_enrolment_makes_a_stronger_attacker():
    train, (x, who) = embeddings(100, 6, 0), embeddings(30, 10, 1, noise=2.0)
    backend = PLDA(shrinkage=0.05).fit(*train)
    rates = []
    for size in (1, 5):
        groups = [np.flatnonzero(who == s)[:size] for s in range(30)]
        models, _ = enrol(x, groups)
        tests = np.concatenate(
            [np.flatnonzero(who == s)[5:] for s in range(30)]
        )
        scores = backend.score(models, x[tests], np.full(30, size))
        mated = np.arange(30)[:, None] == who[tests]
        rates.append(equal_error_rate(scores[mated], scores[~mated]))
    assert rates[1] < rates[0] - 0.03


def test_statistics_of_constant_and_of_single_frames():
    rng = np.random.default_rng(0)
    data = Representations.of(
        {
            i: np.column_stack(
                [rng.normal(size=(1 + i % 3, 2)), np.ones(1 + i % 3)]
            )
            for i in range(12)
        }
    )
    embedder = StatisticsEmbedder()
    embedder.fit(data, range(12))
    assert np.isfinite(embedder.embed(data)).all()


@pytest.mark.parametrize(
    "classifier", [LogisticRegression, SVC, partial(KNeighborsClassifier, 15)]
)
def test_a_classifier_infers_a_class_of_new_speakers(classifier):
    def speech(seed):
        rng = np.random.default_rng(seed)
        labels = np.repeat(["F", "M"], 30)
        return Representations.of(
            {
                i: rng.normal(2.0 * (labels[i] == "M"), 1, (50, 5))
                for i in range(60)
            }
        ), labels

    few = partial(StatisticsEmbedder, n_channels=2)
    attacker = ClassifierAttacker(classifier, few)
    curve = attacker.fit(*speech(0), seed=1, device="cpu")
    assert curve.accuracy[-1] > 0.8
    data, labels = speech(1)
    scores = attacker.class_scores(data)
    assert scores.shape == (60, 2)
    guessed = attacker.classes[scores.argmax(1)]
    assert (guessed == labels).mean() > 0.8
    with pytest.raises(ValueError, match="two classes"):
        attacker.fit(data, ["F"] * 60)


def test_a_reader_knows_speakers_by_their_words():
    rng = np.random.default_rng(0)
    words = np.array(
        [f"W{chr(65 + i)}{chr(65 + j)}" for i in range(8) for j in range(5)]
    )

    def said(first, n_speakers):
        texts, who = [], []
        for s in range(n_speakers):
            own = rng.choice(words, 6, replace=False)
            for _ in range(6):
                texts.append(" ".join(rng.choice(own, 5)))
                who.append(s)
        return Transcripts(tuple(range(len(texts))), tuple(texts)), np.array(
            who
        )

    attacker = SpeakerAttacker(TextEmbedder)
    attacker.fit(*said(0, 30))
    data, who = said(1, 20)
    scores = attacker.score(data, [[i] for i in range(len(who))])["cosine"]
    assert eer_of(scores, who) < 0.35
    assert abs(eer_of(scores, rng.permutation(who)) - 0.5) < 0.08


def test_procrustes_undoes_a_rotation():
    x, who = embeddings(30, 4, 0)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0]
    noisy = x @ turn + 0.1 * np.random.default_rng(2).normal(size=x.shape)
    back = procrustes(noisy[:80], x[:80])
    np.testing.assert_allclose(back @ back.T, np.eye(20), atol=1e-10)
    aligned = noisy[80:] @ back
    assert np.abs(aligned - x[80:]).mean() < 0.15
    with pytest.raises(ValueError, match="pairs of embeddings"):
        procrustes(x, x[:5])


def test_a_representation_that_never_changes_tells_nothing():
    def constant(seed):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 9, 30)
        return Representations.of(
            {i: np.ones((n, 4)) for i, n in enumerate(sizes)}
        )

    who = np.repeat([f"s{i}" for i in range(10)], 3)
    attacker = SpeakerAttacker(
        StatisticsEmbedder,
        {"cosine": Cosine, "plda": PLDA, "snorm": partial(SNorm, PLDA)},
    )
    attacker.fit(constant(0), who)
    for scores in attacker.score(
        constant(1), [[i] for i in range(30)]
    ).values():
        assert eer_of(scores, who) == 0.5


@pytest.mark.parametrize("shape", [(500, 30), (30, 500)])
def test_principal_axes_keep_the_largest_variances(shape):
    x = np.random.default_rng(0).normal(size=shape) * np.linspace(
        1, 3, shape[1]
    )
    x -= x.mean(0)
    axes = _principal_axes(x, 5)
    np.testing.assert_allclose(axes.T @ axes, np.eye(5), atol=1e-8)
    expected = np.linalg.svd(x, compute_uv=False)[:5]
    np.testing.assert_allclose(np.linalg.norm(x @ axes, axis=0), expected)


@pytest.mark.parametrize("network", [TDNN, ECAPA])
def test_an_embedding_does_not_depend_on_its_batch(network):
    rng = np.random.default_rng(0)
    data = Representations.of(
        {i: rng.normal(i % 2, 1, (2 + 7 * i, 6)) for i in range(10)}
    )
    attacker = NetworkAttacker(
        partial(network, channels=16), epochs=5, batch_size=4, segment=0.2
    )
    attacker.fit(data, [i % 2 for i in range(10)], frames_per_second=100)
    together = attacker.embed(data)
    alone = np.concatenate(
        [attacker.embed(data.subset([i])) for i in range(10)]
    )
    np.testing.assert_allclose(together, alone, atol=1e-5)
