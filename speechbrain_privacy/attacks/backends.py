"""From embeddings to scores: cosine, PLDA, and score normalisation.

Numpy only. A back-end learns on the attacker's training speakers and scores
enrolments (means of one or several embeddings) against test embeddings.
"""

import numpy as np


def unit(x):
    """Rows of length one; zero rows stay."""
    x = np.asarray(x, float)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def enrol(embeddings, groups):
    """Speaker models: the mean of the unit embeddings of each group.

    Arguments
    ---------
    embeddings : numpy.ndarray
        ``[utterances, dim]``.
    groups : list of sequence of int
        Rows of each model.

    Returns
    -------
    means : numpy.ndarray
        ``[models, dim]``.
    counts : numpy.ndarray
        Utterances of each model, ``[models]``.
    """
    x = unit(embeddings)
    return (
        np.stack([x[list(rows)].mean(0) for rows in groups]),
        np.array([len(rows) for rows in groups]),
    )


class Cosine:
    """Cosine of embeddings, centred on the training speakers.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> x, who = rng.normal(size=(20, 4)), np.repeat(np.arange(5), 4)
    >>> backend = Cosine().fit(x, who)
    >>> backend.score(x[:2], x[:3]).shape
    (2, 3)
    """

    def fit(self, embeddings, speakers):
        """Learns the centre.

        Arguments
        ---------
        embeddings : numpy.ndarray
            ``[utterances, dim]``.
        speakers : array_like
            ``[utterances]``.

        Returns
        -------
        Cosine
            Itself.
        """
        self.mean = unit(embeddings).mean(0)
        return self

    def score(self, models, tests, counts=None):
        """Scores every model against every test.

        Arguments
        ---------
        models : numpy.ndarray
            Means of unit embeddings, from ``enrol``, ``[models, dim]``.
        tests : numpy.ndarray
            ``[tests, dim]``.
        counts : numpy.ndarray, optional
            Utterances behind each model (not used by a cosine).

        Returns
        -------
        numpy.ndarray
            ``[models, tests]``, higher = more alike.
        """
        return unit(unit(models) - self.mean) @ unit(unit(tests) - self.mean).T


class PLDA:
    """Two-covariance probabilistic linear discriminant analysis.

    After Ioffe, "Probabilistic linear discriminant analysis", ECCV 2006,
    and Brummer and de Villiers, "The speaker partitioning problem", Odyssey
    2010: an embedding, scaled to length one, is a speaker's point, of
    covariance B, plus noise of covariance W. Both are estimated by moments,
    and W is shrunk, since an attacker may have few speakers.

    Arguments
    ---------
    dim : int
        Discriminant directions that are kept, at most.
    shrinkage : float
        Share of the mean variance in W.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> who = np.repeat(np.arange(30), 6)
    >>> x = rng.normal(size=(30, 8))[who] * 2 + rng.normal(size=(180, 8))
    >>> models, counts = enrol(x, [[6 * i, 6 * i + 1] for i in range(30)])
    >>> scores = PLDA().fit(x, who).score(models, x[2::6], counts)
    >>> bool((scores.argmax(0) == np.arange(30)).mean() > 0.7)
    True
    """

    def __init__(self, dim=100, shrinkage=0.5):
        self.dim = dim
        self.shrinkage = shrinkage

    def fit(self, embeddings, speakers):
        """Learns the covariances; as ``Cosine.fit``."""
        x = unit(embeddings)
        _, place, counts = np.unique(
            np.asarray(speakers), return_inverse=True, return_counts=True
        )
        n_speakers = len(counts)
        if n_speakers < 2 or n_speakers == len(x):
            raise ValueError(
                "PLDA needs two speakers or more, and one with two utterances"
            )
        self.mean = x.mean(0)
        x = x - self.mean
        centres = np.zeros((n_speakers, x.shape[1]))
        np.add.at(centres, place, x)
        centres /= counts[:, None]
        rest = x - centres[place]
        noise = rest.T @ rest / (len(x) - n_speakers)
        size = len(noise)
        # Where all embeddings are one, any variance will do.
        level = np.trace(noise) / size or 1.0
        within = (1 - self.shrinkage) * noise
        within += self.shrinkage * level * np.eye(size)
        # Means of few utterances scatter more than the speakers do.
        between = centres.T @ centres / (n_speakers - 1)
        between -= noise * np.mean(1 / counts)
        values, vectors = np.linalg.eigh(within)
        white = vectors / np.sqrt(np.maximum(values, 1e-9 * level))
        spread, turn = np.linalg.eigh(white.T @ between @ white)
        kept = np.argsort(spread)[::-1][: min(self.dim, n_speakers - 1)]
        kept = kept[spread[kept] > 1e-6] if spread[kept[0]] > 1e-6 else kept[:1]
        self.between = np.maximum(spread[kept], 1e-6)
        self.project = white @ turn[:, kept]
        return self

    def score(self, models, tests, counts=None):
        """Log-likelihood ratios; as ``Cosine.score``."""
        # A mean of unit vectors is shorter than one, and less noisy for it.
        x = (np.asarray(models, float) - self.mean) @ self.project
        y = (unit(tests) - self.mean) @ self.project
        n = np.ones(len(x)) if counts is None else np.asarray(counts, float)
        # Given the model, a test has this mean and variance, per direction.
        gain = n[:, None] * self.between
        mean = gain / (gain + 1) * x
        spread = 1 + self.between / (gain + 1)
        total = 1 + self.between
        cross = (mean / spread) @ y.T
        own = np.sum(mean**2 / spread + np.log(spread), axis=1)
        square = (1 / spread) @ (y**2).T - np.sum(y**2 / total, axis=1)
        return cross - 0.5 * (own[:, None] + square - np.sum(np.log(total)))


class SNorm:
    """Adaptive symmetric score normalisation on top of a back-end.

    After Matejka et al., "Analysis of score normalization in multilingual
    speaker recognition", Interspeech 2017. The cohort is the mean embedding
    of each training speaker.

    Arguments
    ---------
    backend : callable
        Makes a ``Cosine`` or a ``PLDA``.
    top : int
        The nearest of the cohort that count, for each side.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> x, who = rng.normal(size=(40, 4)), np.repeat(np.arange(10), 4)
    >>> SNorm(Cosine, top=5).fit(x, who).score(x[:2], x[:3]).shape
    (2, 3)
    """

    def __init__(self, backend, top=50):
        self.backend = backend()
        self.top = top

    def fit(self, embeddings, speakers):
        """Fits the back-end and keeps the cohort; as ``Cosine.fit``."""
        self.backend.fit(embeddings, speakers)
        speakers = np.asarray(speakers)
        self.cohort, self.counts = enrol(
            embeddings,
            [np.flatnonzero(speakers == name) for name in np.unique(speakers)],
        )
        return self

    def score(self, models, tests, counts=None):
        """Normalised scores; as ``Cosine.score``."""
        scores = self.backend.score(models, tests, counts)
        of_models = self.backend.score(models, self.cohort, counts)
        of_tests = self.backend.score(self.cohort, tests, self.counts).T
        sides = []
        for cohort in (of_models, of_tests):
            top = min(self.top, cohort.shape[1])
            near = np.partition(cohort, -top, axis=1)[:, -top:]
            sides.append((near.mean(1), np.maximum(near.std(1), 1e-6)))
        (mean_m, std_m), (mean_t, std_t) = sides
        return 0.5 * (
            (scores - mean_m[:, None]) / std_m[:, None]
            + (scores - mean_t) / std_t
        )


def procrustes(protected, original):
    """The rotation that brings protected embeddings back (Procrustes).

    After Champion et al., "On the invertibility of a voice privacy system
    using embedding alignment", ASRU 2021: R = U V' of the SVD of the cross
    product.

    Arguments
    ---------
    protected, original : array_like
        Embeddings of the same utterances, ``[utterances, dim]``.

    Returns
    -------
    numpy.ndarray
        ``[dim, dim]``, orthogonal; ``unit(protected) @ R`` is nearest to
        ``unit(original)``.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> x, turn = rng.normal(size=(9, 3)), np.eye(3)[[2, 0, 1]]
    >>> np.allclose(procrustes(x @ turn, x), turn.T)
    True
    """
    a, b = unit(protected), unit(original)
    if a.shape != b.shape:
        raise ValueError(
            f"alignment needs pairs of embeddings, not {a.shape} and {b.shape}"
        )
    left, _, right = np.linalg.svd(a.T @ b)
    return left @ right
