"""Scored trials and the speakers behind them.

Utterances of one speaker are alike, so trials are not independent: what is
resampled is the speaker, on both sides of every trial. Here new counts of
the speakers become new weights of the trials, without a new sort.
"""

from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from speechbrain_privacy.metrics.scores import Blocks, PooledScores

#: Draws weighed at a time: a cache line of weights for every trial.
CHUNK = 16
#: Whole numbers below this are exact in single precision.
EXACT = 1 << 24


class SpeakerScores:
    """Scores of two kinds of trials, and whose they are.

    Arguments
    ---------
    mated, nonmated : tuple
        ``(scores, speaker, ...)``: for each trial its score and one or two
        speakers. A trial counts as often as the product of its speakers'
        counts.

    Example
    -------
    >>> data = SpeakerScores(([0.9, 0.8], ["a", "b"]), ([0.1], ["a"], ["b"]))
    >>> data.speakers
    array(['a', 'b'], dtype='<U1')
    >>> [blocks.mated for blocks in data.resampled(np.array([[2, 0]]))]
    [array([0., 2.])]
    """

    def __init__(self, mated, nonmated):
        kinds = [mated, nonmated]
        names = [np.asarray(side) for kind in kinds for side in kind[1:]]
        self.speakers, places = _factorize(names)
        self.pooled = PooledScores(mated[0], nonmated[0])
        self._sides = [tuple(next(places) for _ in kind[1:]) for kind in kinds]
        for sides, size, kind in zip(
            self._sides,
            (self.pooled.n_mated, self.pooled.n_nonmated),
            ("mated", "non-mated"),
        ):
            if any(len(side) != size for side in sides):
                raise ValueError(
                    f"{size} {kind} scores need as many speakers on each side"
                )

    @classmethod
    def of_pairs(cls, scores, left, right):
        """Verification trials: equal speakers on both sides mean mated.

        Arguments
        ---------
        scores, left, right : array_like
            ``[n_trials]``. A draw that has a speaker ``a`` times and another
            ``b`` times counts their trials ``a * b`` times, and the mated
            trials of a speaker ``a`` times: copies of a speaker are not
            compared with each other.

        Returns
        -------
        SpeakerScores
        """
        scores, left, right = map(np.asarray, (scores, left, right))
        if not scores.shape == left.shape == right.shape:
            raise ValueError(
                f"{len(scores)} scores, {len(left)} left and {len(right)} "
                "right speakers do not match"
            )
        mated = left == right
        return cls(
            (scores[mated], left[mated]),
            (scores[~mated], left[~mated], right[~mated]),
        )

    @classmethod
    def of_classes(cls, scores, positive, speakers):
        """A two-class attacker: every speaker belongs to one class.

        Arguments
        ---------
        scores : array_like
            ``[n_utterances]``, higher = more like the positive class.
        positive : array_like
            Boolean, ``[n_utterances]``.
        speakers : array_like
            ``[n_utterances]``.

        Returns
        -------
        SpeakerScores
        """
        scores, speakers = np.asarray(scores), np.asarray(speakers)
        positive = np.asarray(positive, bool)
        both = np.intersect1d(speakers[positive], speakers[~positive])
        if len(both):
            raise ValueError(f"speaker '{both[0]}' occurs in both classes")
        return cls(
            (scores[positive], speakers[positive]),
            (scores[~positive], speakers[~positive]),
        )

    @property
    def classes(self):
        """Boolean per speaker: has mated trials (the positive class)."""
        found = np.zeros(len(self.speakers), dtype=bool)
        found[self._sides[0][0]] = True
        return found

    def rescored(self, scores):
        """The same trials with other scores.

        Arguments
        ---------
        scores : tuple of array_like
            Of the mated and of the non-mated trials, in their order.

        Returns
        -------
        SpeakerScores
        """
        return SpeakerScores(
            *(
                (some, *(self.speakers[side] for side in sides))
                for some, sides in zip(scores, self._sides)
            )
        )

    def blocks(self):
        """The trials as they are."""
        return self.pooled.blocks()

    def resampled(self, counts):
        """Blocks for other counts of the speakers.

        Arguments
        ---------
        counts : numpy.ndarray
            ``[n_draws, n_speakers]``.

        Yields
        ------
        Blocks
        """
        counts = np.asarray(counts)
        whole = np.issubdtype(counts.dtype, np.integer)
        for start in range(0, len(counts), CHUNK):
            some = counts[start : start + CHUNK]
            mated, nonmated = (
                self._block_weights(kind, some.T, whole) for kind in (0, 1)
            )
            for i, row in enumerate(some):
                yield Blocks(
                    mated[:, i].astype(float),
                    nonmated[:, i].astype(float),
                    self._inside(row),
                )

    def without_each_speaker(self):
        """Blocks with each speaker left out in turn, as ``resampled``."""
        n = len(self.speakers)
        for start in range(0, n, CHUNK):
            counts = np.ones((min(CHUNK, n - start), n), dtype=np.int64)
            counts[np.arange(len(counts)), start + np.arange(len(counts))] = 0
            yield from self.resampled(counts)

    def _block_weights(self, kind, counts, whole):
        """Weights ``[n_blocks, n_draws]`` of one kind of trial."""
        units, matrix, largest = self._matrices[kind]
        weights = np.prod([counts[side] for side in units], axis=0)
        exact = whole and largest * int(weights.max(initial=1)) < EXACT
        return matrix @ weights.astype(np.float32 if exact else float)

    def _inside(self, row):
        def weight(sides):
            return lambda trials: np.prod(
                [row[side[trials]] for side in sides], axis=0
            )

        weights = [weight(sides) for sides in self._sides]
        return lambda block: self.pooled.inside(block, *weights)

    @cached_property
    def _matrices(self):
        """Per kind: its units, trials ``[block, unit]``, its largest block.

        A unit is a speaker, or a pair of speakers: trials of one unit have
        one weight.
        """
        n = len(self.speakers)
        found = []
        for sides, order, starts in zip(
            self._sides,
            (self.pooled.mated_order, self.pooled.nonmated_order),
            self.pooled.starts,
        ):
            if len(sides) == 1:
                units, unit_of_trial = (np.arange(n),), sides[0]
            else:
                low, high = np.minimum(*sides), np.maximum(*sides)
                units, unit_of_trial = _pairs(low, high, n)
            matrix = csr_array(
                (
                    np.ones(len(order), np.float32),
                    unit_of_trial[order],
                    starts,
                ),
                shape=(self.pooled.n_blocks, len(units[0])),
            )
            found.append((units, matrix, int(np.diff(starts).max())))
        return found


def _pairs(low, high, n):
    """Distinct pairs of speakers, and the place of each trial's pair."""
    codes = low.astype(np.int64) * n + high
    if n * n > 10 * len(codes) + 10**7:  # a table would waste memory
        found, place = np.unique(codes, return_inverse=True)
        return np.divmod(found, n), place.reshape(-1).astype(np.int32)
    used = np.zeros(n * n, dtype=bool)
    used[codes] = True
    place = np.cumsum(used, dtype=np.int32) - 1
    return np.divmod(np.flatnonzero(used), n), place[codes]


def _factorize(names):
    """Distinct names in order, and each list as places among them."""
    from pandas import factorize  # slow to import

    places, distinct = factorize(np.concatenate(names), sort=True)
    if (places < 0).any() or "" in distinct[:1]:
        raise ValueError("a trial has no speaker")
    parts = np.cumsum([len(some) for some in names])[:-1]
    return np.asarray(distinct), iter(np.split(places.astype(np.int32), parts))
