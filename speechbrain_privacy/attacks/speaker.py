"""A speaker verification attacker: an embedder and its back-ends."""

import numpy as np

from speechbrain_privacy.attacks.backends import Cosine, enrol


class SpeakerAttacker:
    """Learns speakers, then scores enrolments against utterances.

    Arguments
    ---------
    embedder : callable
        Makes a ``NetworkAttacker``, a ``StatisticsEmbedder`` or alike.
    backends : dict, optional
        Name -> function that makes a back-end. Default: a cosine. Every one
        is an attacker of its own, at little cost.

    Example
    -------
    >>> from speechbrain_privacy.attacks.statistics import StatisticsEmbedder
    >>> from speechbrain_privacy.audit.representations import Representations
    >>> rng = np.random.default_rng(0)
    >>> data = Representations.of(
    ...     {i: rng.normal(i // 4, 1, (30, 4)) for i in range(20)}
    ... )
    >>> attacker = SpeakerAttacker(StatisticsEmbedder)
    >>> curve = attacker.fit(data, [i // 4 for i in range(20)])
    >>> attacker.score(data, [[0, 1], [4]])["cosine"].shape
    (2, 20)
    """

    def __init__(self, embedder, backends=None):
        self.embedder = embedder()
        makers = {"cosine": Cosine} if backends is None else backends
        self.backends = {name: make() for name, make in makers.items()}

    def fit(self, data, speakers, **settings):
        """Trains the embedder and every back-end.

        Arguments
        ---------
        data : Representations
        speakers : sequence
        **settings
            Of the embedder's ``fit``.

        Returns
        -------
        LearningCurve
        """
        curve = self.embedder.fit(data, speakers, **settings)
        embeddings = self.embed(data)
        for backend in self.backends.values():
            backend.fit(embeddings, speakers)
        return curve

    def embed(self, data):
        """Embeddings of whole utterances, ``[utterances, dim]``."""
        return self.embedder.embed(data)

    def compare(self, enrolment, tests, groups):
        """Scores speaker models against all tests.

        Arguments
        ---------
        enrolment, tests : numpy.ndarray
            Embeddings, from ``embed``, ``[utterances, dim]``.
        groups : list of sequence of int
            Rows of ``enrolment`` that make each model.

        Returns
        -------
        dict
            Back-end -> ``[models, tests]``.
        """
        models, counts = enrol(enrolment, groups)
        return {
            name: np.asarray(backend.score(models, tests, counts))
            for name, backend in self.backends.items()
        }

    def score(self, data, groups):
        """Scores speaker models against all utterances.

        Arguments
        ---------
        data : Representations
        groups : list of sequence of int
            Utterances that enrol each model, as places in ``data``.

        Returns
        -------
        dict
            Back-end -> ``[models, utterances]``.
        """
        embeddings = self.embed(data)
        return self.compare(embeddings, embeddings, groups)
