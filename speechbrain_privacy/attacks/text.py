"""An attacker who reads: speakers and attributes from transcripts alone.

The control for what words give away: no protection of the voice can hide it.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from speechbrain_privacy.attacks.network import LearningCurve


@dataclass(frozen=True)
class Transcripts:
    """Texts of utterances, used like ``Representations``."""

    ids: tuple
    texts: tuple

    def __len__(self):
        return len(self.ids)

    def subset(self, places):
        """The utterances at ``places``, as a new object."""
        return Transcripts(
            tuple(self.ids[i] for i in places),
            tuple(self.texts[i] for i in places),
        )


class TextEmbedder:
    """Character n-grams of transcripts as vectors.

    Arguments
    ---------
    ngrams : tuple of int
        Shortest and longest n-gram, within words.
    dim : int
        Size of the embedding, at most.

    Example
    -------
    >>> embedder = TextEmbedder(dim=4)
    >>> texts = ("ONE TWO", "TWO THREE", "STOP", "YES", "NO", "HELLO")
    >>> data = Transcripts(tuple(range(6)), texts)
    >>> curve = embedder.fit(data, list("aabbcc"))
    >>> embedder.embed(data.subset([0, 2])).shape
    (2, 4)
    """

    def __init__(self, ngrams=(1, 4), dim=200):
        self.ngrams = tuple(ngrams)
        self.dim = dim

    def fit(self, data, labels, seed=0, **settings):
        """Learns the n-grams; labels are not looked at.

        Arguments
        ---------
        data : Transcripts
        labels : sequence
            Not used.
        seed : int
            Of the decomposition.
        **settings
            What other embedders need: not used.

        Returns
        -------
        LearningCurve
            Empty: there are no epochs.
        """
        self.vectorizer = TfidfVectorizer(
            analyzer="char_wb", ngram_range=self.ngrams, sublinear_tf=True
        )
        x = self.vectorizer.fit_transform(data.texts)
        dim = min(self.dim, x.shape[1] - 1, x.shape[0] - 1)
        self.svd = TruncatedSVD(dim, random_state=seed).fit(x)
        return LearningCurve()

    def embed(self, data):
        """Embeddings of transcripts, ``[utterances, dim]``."""
        return np.asarray(
            self.svd.transform(self.vectorizer.transform(data.texts))
        )
