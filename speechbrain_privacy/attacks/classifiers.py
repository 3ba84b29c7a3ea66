"""Attribute attackers from scikit-learn, on moments of the frames."""

import numpy as np

from speechbrain_privacy.attacks.network import LearningCurve
from speechbrain_privacy.attacks.statistics import StatisticsEmbedder


class ClassifierAttacker:
    """Infers a class of whole utterances with a classical classifier.

    Arguments
    ---------
    classifier : callable
        Makes an estimator of scikit-learn, e.g. ``!name:`` of
        ``sklearn.linear_model.LogisticRegression``, ``sklearn.svm.SVC``,
        ``sklearn.neighbors.KNeighborsClassifier`` or
        ``sklearn.neural_network.MLPClassifier``.
    embedder : callable, optional
        Makes what turns utterances into vectors.

    Example
    -------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from speechbrain_privacy.audit.representations import Representations
    >>> rng = np.random.default_rng(0)
    >>> data = Representations.of(
    ...     {i: rng.normal(i % 2, 1, (30, 4)) for i in range(20)}
    ... )
    >>> attacker = ClassifierAttacker(LogisticRegression)
    >>> curve = attacker.fit(data, [i % 2 for i in range(20)], seed=0)
    >>> attacker.class_scores(data).shape
    (20, 2)
    """

    def __init__(self, classifier, embedder=StatisticsEmbedder):
        self.classifier = classifier
        self.embedder = embedder()

    def fit(self, data, labels, seed=0, **settings):
        """Trains from scratch.

        Arguments
        ---------
        data : Representations
        labels : sequence
        seed : int
            Given to a classifier that takes a ``random_state``.
        **settings
            What other attackers need: not used.

        Returns
        -------
        LearningCurve
            With one entry: the training accuracy.
        """
        labels = np.asarray(labels)
        if len(np.unique(labels)) < 2:
            raise ValueError("an attacker needs two classes to learn")
        self.embedder.fit(data, labels)
        x = self.embedder.embed(data)
        # One scale for all: each axis its own would raise the noise.
        self.scale = max(float(x.std()), 1e-12)
        self.model = self.classifier()
        if "random_state" in self.model.get_params():
            self.model.set_params(random_state=seed)
        x = x / self.scale
        self.model.fit(x, labels)
        self.classes = self.model.classes_
        return LearningCurve(accuracy=[float(self.model.score(x, labels))])

    def class_scores(self, data):
        """Evidence for each class, ``[utterances, classes]``."""
        x = self.embedder.embed(data) / self.scale
        if hasattr(self.model, "decision_function"):
            scores = self.model.decision_function(x)
            if scores.ndim == 1:
                return np.stack([-scores, scores], axis=1)
            return scores
        return self.model.predict_proba(x)
