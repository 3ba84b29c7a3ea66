"""An attacker without a network: moments of an utterance's frames.

The channels of a recording vary together in a way that depends on the
speaker (and the microphone). Second moments of the frames, compared by PLDA,
are what a few dozen training speakers suffice for; networks need thousands.
"""

import numpy as np

from speechbrain_privacy.attacks.network import LearningCurve


class StatisticsEmbedder:
    """Moments of whitened frames and of their movement, reduced by PCA.

    The mean, the covariance, and the covariance of differences over two
    frames, each standardised over the training utterances.

    Arguments
    ---------
    n_channels : int
        Principal components of the frames that are kept, at most.
    dim : int
        Size of the embedding, at most.

    Example
    -------
    >>> from speechbrain_privacy.audit.representations import Representations
    >>> rng = np.random.default_rng(0)
    >>> data = Representations.of(
    ...     {i: rng.normal(i % 2, 1, (30, 4)) for i in range(20)}
    ... )
    >>> embedder = StatisticsEmbedder(n_channels=3, dim=5)
    >>> curve = embedder.fit(data, [i % 2 for i in range(20)])
    >>> embedder.embed(data).shape
    (20, 5)
    """

    def __init__(self, n_channels=24, dim=150):
        self.n_channels = n_channels
        self.dim = dim

    def fit(self, data, labels, **settings):
        """Learns the axes; labels are not looked at.

        Arguments
        ---------
        data : Representations
        labels : sequence
            Not used.
        **settings
            What other embedders need (seed, device): not used.

        Returns
        -------
        LearningCurve
            Empty: there are no epochs.
        """
        total, square = np.zeros(data.dim), np.zeros((data.dim, data.dim))
        for x in data.utterances():
            total += x.sum(0, dtype=float)
            x = x.astype(float)
            square += x.T @ x
        n_frames = len(data.frames)
        self.mean = total / n_frames
        values, vectors = np.linalg.eigh(
            square / n_frames - np.outer(self.mean, self.mean)
        )
        order = np.argsort(values)[::-1][: self.n_channels]
        # A constant channel (a token that never occurs) has nothing to say.
        largest = max(float(values[order[0]]), 1e-30)
        order = order[values[order] > 1e-9 * largest]
        if len(order) == 0:  # nothing ever changes: nothing is told
            order = np.array([0])
            values = np.ones_like(values)
        self.whiten = vectors[:, order] / np.sqrt(values[order])
        moments = self._moments(data)
        self.centre, self.scale = moments.mean(0), moments.std(0)
        self.scale[self.scale < 1e-9] = 1.0
        moments = (moments - self.centre) / self.scale
        self.axes = _principal_axes(moments, self.dim)
        return LearningCurve()

    def embed(self, data):
        """Embeddings of whole utterances.

        Arguments
        ---------
        data : Representations

        Returns
        -------
        numpy.ndarray
            ``[utterances, dim]``.
        """
        return ((self._moments(data) - self.centre) / self.scale) @ self.axes

    def _moments(self, data):
        upper = np.triu_indices(self.whiten.shape[1])
        rows = []
        for x in data.utterances():
            z = (x - self.mean) @ self.whiten
            mean = z.mean(0)
            # The first frame moves nowhere: one frame has moments too.
            step = z - z[np.maximum(np.arange(len(z)) - 2, 0)]
            z = z - mean
            rows.append(
                np.concatenate(
                    [
                        mean,
                        (z.T @ z / len(z))[upper],
                        (step.T @ step / len(z))[upper],
                    ]
                )
            )
        return np.stack(rows)


def _principal_axes(x, dim):
    """Axes ``[columns, dim]`` of centred rows, from the smaller product."""
    if len(x) < x.shape[1]:
        values, vectors = np.linalg.eigh(x @ x.T)
    else:
        values, vectors = np.linalg.eigh(x.T @ x)
    order = np.argsort(values)[::-1][:dim]
    order = order[values[order] > 1e-9 * max(float(values[order[0]]), 1e-30)]
    if len(order) == 0:  # all rows are one
        return np.zeros((x.shape[1], 1))
    vectors = vectors[:, order]
    if len(x) < x.shape[1]:
        return x.T @ (vectors / np.sqrt(values[order]))
    return vectors
