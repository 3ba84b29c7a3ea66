"""Scores of a verification attacker, sorted once.

Every metric that depends on the order of the scores alone reads *blocks*:
stretches of the sorted axis that hold trials of one kind, or one tied score
that both kinds share. There are at most twice as many of them as trials of
the rarer kind, so that everything after the sort is cheap, and new weights
of the trials (a bootstrap) need no new sort.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import isotonic_regression

#: Mated trials in a bin of the D_sys histogram, on average; most bins.
TRIALS_PER_BIN, MAX_BINS = 10, 100


class PooledScores:
    """Mated and non-mated scores on one sorted axis, ties pooled.

    Arguments
    ---------
    mated : array_like
        Scores of trials that belong together (higher = more alike).
    nonmated : array_like
        Scores of trials that do not.

    Raises
    ------
    ValueError
        If a list is empty or a score is NaN or infinite.

    Example
    -------
    >>> blocks = PooledScores([2.0, 3.0, 3.5], [1.0, 1.5, 2.0]).blocks()
    >>> blocks.mated, blocks.nonmated
    (array([0., 1., 2.]), array([2., 1., 0.]))
    """

    def __init__(self, mated, nonmated):
        self._mated = _checked(mated, "mated")
        self._nonmated = _checked(nonmated, "non-mated")
        self.mated = np.sort(self._mated)
        self.nonmated = np.sort(self._nonmated)
        few, many = self.mated, self.nonmated
        swapped = len(few) > len(many)
        if swapped:
            few, many = many, few
        starts = _block_starts(few, many)
        #: Where each block begins among the mated and the non-mated scores,
        #: ``[2, n_blocks + 1]``.
        self.starts = starts[::-1] if swapped else starts

    @property
    def n_mated(self):
        """Number of mated trials."""
        return len(self.mated)

    @property
    def n_nonmated(self):
        """Number of non-mated trials."""
        return len(self.nonmated)

    @property
    def n_blocks(self):
        """Number of blocks."""
        return len(self.starts[0]) - 1

    def blocks(self, mated_weights=None, nonmated_weights=None):
        """The trials of each block, counted or weighted.

        Arguments
        ---------
        mated_weights, nonmated_weights : array_like, optional
            Non-negative, one for each trial, in the order of the
            constructor's lists. A weight of 2 is a trial that occurs twice.

        Returns
        -------
        Blocks
        """
        if mated_weights is None and nonmated_weights is None:
            return Blocks(
                np.diff(self.starts[0]).astype(float),
                np.diff(self.starts[1]).astype(float),
                self._counts_inside,
            )
        mated_weights = _weights(mated_weights, self.n_mated)
        nonmated_weights = _weights(nonmated_weights, self.n_nonmated)
        return Blocks(
            _sums(mated_weights[self.mated_order], self.starts[0]),
            _sums(nonmated_weights[self.nonmated_order], self.starts[1]),
            lambda block: self.inside(
                block, mated_weights.__getitem__, nonmated_weights.__getitem__
            ),
        )

    def equal_bins(self, n_bins=None):
        """Bin of each score among bins of equal width over the whole range.

        Arguments
        ---------
        n_bins : int, optional
            Default: that of D_sys, a tenth of the mated trials, at most 100.

        Returns
        -------
        tuple of numpy.ndarray
            Of the mated and the non-mated trials, in the constructor's order.
        """
        edges = self.bin_edges(n_bins)
        return tuple(
            np.clip(
                np.searchsorted(edges, scores, "right") - 1, 0, len(edges) - 2
            )
            for scores in (self._mated, self._nonmated)
        )

    def bin_edges(self, n_bins=None):
        """Edges of bins of equal width (see ``equal_bins``).

        Raises
        ------
        ArithmeticError
            With fewer than ten mated trials there is no histogram.
        """
        if n_bins is None:
            n_bins = min(MAX_BINS, self.n_mated // TRIALS_PER_BIN)
        if n_bins < 1:
            raise ArithmeticError(
                f"{self.n_mated} mated trials: linkability (D_sys) is not "
                f"defined for fewer than {TRIALS_PER_BIN}"
            )
        low = min(self.mated[0], self.nonmated[0])
        high = max(self.mated[-1], self.nonmated[-1])
        return np.linspace(low, high, n_bins + 1)

    @cached_property
    def mated_order(self):
        """Places of the mated trials in increasing order of their scores."""
        return np.argsort(self._mated, kind="stable")

    @cached_property
    def nonmated_order(self):
        """The same for the non-mated ones."""
        return np.argsort(self._nonmated, kind="stable")

    def inside(self, block, mated_weight, nonmated_weight):
        """Weights at each distinct score of a block.

        Arguments
        ---------
        block : int
        mated_weight, nonmated_weight : callable
            Places in the constructor's lists -> their weights.

        Returns
        -------
        tuple of numpy.ndarray
            Of the mated and of the non-mated trials. One is empty unless
            the block is one score.
        """
        of_mated = slice(*self.starts[0][block : block + 2])
        of_nonmated = slice(*self.starts[1][block : block + 2])
        return (
            _weights_by_value(
                self.mated[of_mated], mated_weight(self.mated_order[of_mated])
            ),
            _weights_by_value(
                self.nonmated[of_nonmated],
                nonmated_weight(self.nonmated_order[of_nonmated]),
            ),
        )

    def _counts_inside(self, block):
        """As ``inside``, with a weight of one each: needs no order."""
        return tuple(
            np.unique(
                scores[starts[block] : starts[block + 1]], return_counts=True
            )[1].astype(float)
            for scores, starts in zip((self.mated, self.nonmated), self.starts)
        )


@dataclass(frozen=True)
class Blocks:
    """Weights of the mated and the non-mated trials of each block.

    ``mated`` and ``nonmated`` are ``[n_blocks]``, in increasing order of the
    scores. ``inside(k)`` gives the weights at each distinct score of block
    ``k``, as two arrays.
    """

    mated: np.ndarray
    nonmated: np.ndarray
    inside: Callable

    @cached_property
    def totals(self):
        """Weight of all mated and of all non-mated trials, both positive."""
        self.require_both()
        return float(self.mated.sum()), float(self.nonmated.sum())

    @cached_property
    def pav(self):
        """The pool-adjacent-violators solution, a ``Pav``."""
        self.require_both()
        return pool_adjacent_violators(self.mated, self.nonmated)

    def require_both(self):
        """Raises ValueError if one kind of trial has no weight."""
        for part, name in ((self.mated, "mated"), (self.nonmated, "non-mated")):
            if not part.any():
                raise ValueError(f"the {name} trials have no weight")

    @classmethod
    def of_histogram(cls, mated, nonmated):
        """Blocks whose scores are one tied value each."""
        mated = np.asarray(mated, float)
        nonmated = np.asarray(nonmated, float)
        return cls(
            mated, nonmated, lambda k: (mated[k : k + 1], nonmated[k : k + 1])
        )


@dataclass(frozen=True)
class Pav:
    """Blocks in which the share of mated trials increases strictly.

    They are the segments of the ROC convex hull; the ratio of mated to
    non-mated rates in one is the best calibrated likelihood ratio of its
    scores (Brummer and du Preez, 2013). ``mated`` and ``nonmated`` are
    weights ``[n_segments]``.
    """

    mated: np.ndarray
    nonmated: np.ndarray

    @cached_property
    def rates(self):
        """Rate of each segment among mated and among non-mated trials."""
        return (
            self.mated / self.mated.sum(),
            self.nonmated / self.nonmated.sum(),
        )

    @cached_property
    def llr(self):
        """Natural-log likelihood ratio of each segment; may be infinite."""
        mated, nonmated = self.rates
        with np.errstate(divide="ignore"):
            return np.log(mated) - np.log(nonmated)

    @cached_property
    def vertices(self):
        """Miss and false-alarm rates of the hull, from (0, 1) to (1, 0)."""
        mated, nonmated = self.rates
        miss = np.concatenate([[0.0], np.cumsum(mated)])
        alarm = 1.0 - np.concatenate([[0.0], np.cumsum(nonmated)])
        miss[-1], alarm[-1] = 1.0, 0.0
        return miss, alarm


def pool_adjacent_violators(mated, nonmated):
    """Pools neighbours until the share of mated trials increases.

    Arguments
    ---------
    mated, nonmated : numpy.ndarray
        Non-negative weights ``[n]`` at increasing scores.

    Returns
    -------
    Pav

    Example
    -------
    >>> pool_adjacent_violators(np.array([0, 1, 0, 2]), np.array([3, 0, 1, 0]))
    Pav(mated=array([0., 1., 2.]), nonmated=array([3., 1., 0.]))
    """
    mated, nonmated = np.asarray(mated, float), np.asarray(nonmated, float)
    weight = mated + nonmated
    if (weight == 0).any():
        used = weight > 0
        mated, nonmated, weight = mated[used], nonmated[used], weight[used]
    starts = isotonic_regression(mated / weight, weights=weight).blocks[:-1]
    # Counts again, not the means: exact for whole weights.
    return Pav(
        np.add.reduceat(mated, starts), np.add.reduceat(nonmated, starts)
    )


def _checked(scores, name):
    scores = np.asarray(scores, dtype=float).reshape(-1)
    if scores.size == 0:
        raise ValueError(f"there are no {name} scores: both kinds are needed")
    finite = np.isfinite(scores)
    if not finite.all():
        raise ValueError(
            f"{np.count_nonzero(~finite)} of {scores.size} "
            f"{name} scores are NaN or infinite"
        )
    return scores


def _block_starts(few, many):
    """Where each block begins in two sorted lists, with both ends."""
    values, counts = np.unique(few, return_counts=True)
    before = np.searchsorted(many, values, "left")
    after = np.searchsorted(many, values, "right")
    # Gap, value, gap, value, ..., gap.
    sizes = np.zeros((2, 2 * len(values) + 1), dtype=np.int64)
    sizes[0, 1::2] = counts
    sizes[1, 1::2] = after - before
    sizes[1, 0::2] = np.diff(
        np.stack(
            [
                np.concatenate([[0], after]),
                np.concatenate([before, [len(many)]]),
            ]
        ),
        axis=0,
    )[0]
    sizes = sizes[:, sizes.any(0)]
    # Neighbours of one kind are one block: no threshold between them changes
    # what the other kind does.
    mixed = sizes.all(0)
    first = np.ones(sizes.shape[1], dtype=bool)
    first[1:] = (
        mixed[1:] | mixed[:-1] | ((sizes[0, 1:] > 0) != (sizes[0, :-1] > 0))
    )
    sizes = np.add.reduceat(sizes, np.flatnonzero(first), axis=1)
    starts = np.zeros((2, sizes.shape[1] + 1), dtype=np.int64)
    np.cumsum(sizes, axis=1, out=starts[:, 1:])
    return starts


def _weights(weights, size):
    if weights is None:
        return np.ones(size)
    weights = np.asarray(weights, dtype=float).reshape(-1)
    if len(weights) != size:
        raise ValueError(
            f"{size} scores need {size} weights, not {len(weights)}"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("a weight is negative, NaN or infinite")
    return weights


def _sums(weights, starts):
    """Sums between starts; of whole numbers, exact."""
    return np.diff(np.concatenate([[0.0], np.cumsum(weights)])[starts])


def _weights_by_value(scores, weights):
    """Sums the weights of equal scores in a sorted list."""
    if len(scores) == 0:
        return np.zeros(0)
    first = np.flatnonzero(np.diff(scores, prepend=np.nan))
    return np.add.reduceat(weights.astype(float), first)
