"""Error rates of a verification attacker, from its scores.

Scores are sorted and tied ones pooled once (``PooledScores``); every rate is
then a walk over the pooled thresholds, for any integer weights of the
trials. A bootstrap only changes the weights.
"""

import numpy as np


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
    >>> pooled = PooledScores([2.0, 3.0, 3.0], [1.0, 2.0])
    >>> pooled.mated_counts(), pooled.nonmated_counts()
    (array([0., 1., 2.]), array([1., 1., 0.]))
    """

    def __init__(self, mated, nonmated):
        mated = _checked(mated, "mated")
        nonmated = _checked(nonmated, "non-mated")
        self.values, place = np.unique(
            np.concatenate([mated, nonmated]), return_inverse=True
        )
        place = place.reshape(-1)
        self.n_mated, self.n_nonmated = len(mated), len(nonmated)
        self._mated = _Runs(place[: len(mated)], len(self.values))
        self._nonmated = _Runs(place[len(mated) :], len(self.values))

    def mated_counts(self, weights=None):
        """Weight of the mated trials at each pooled score.

        Arguments
        ---------
        weights : array_like, optional
            Non-negative, ``[..., n_mated]``, in the order of the
            constructor's list. Default: ones.

        Returns
        -------
        numpy.ndarray
            ``[..., n_pooled]``.
        """
        return self._mated.sums(weights)

    def nonmated_counts(self, weights=None):
        """As ``mated_counts``, for the non-mated trials."""
        return self._nonmated.sums(weights)


class _Runs:
    """Which pooled score each trial belongs to, sorted for ``reduceat``."""

    def __init__(self, place, size):
        self.order = np.argsort(place, kind="stable")
        self.present, self.starts = np.unique(
            place[self.order], return_index=True
        )
        self.counts = np.bincount(place, minlength=size).astype(float)

    def sums(self, weights):
        if weights is None:
            return self.counts
        weights = np.asarray(weights)
        totals = np.zeros((*weights.shape[:-1], len(self.counts)))
        totals[..., self.present] = np.add.reduceat(
            weights[..., self.order], self.starts, axis=-1
        )
        return totals


def _checked(scores, name):
    scores = np.asarray(scores, dtype=float).reshape(-1)
    if scores.size == 0:
        raise ValueError(f"there are no {name} scores: both kinds are needed")
    if not np.isfinite(scores).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(scores))} of {scores.size} "
            f"{name} scores are NaN or infinite"
        )
    return scores


def eer_from_counts(mated, nonmated):
    """Equal error rate from counts at increasing scores.

    The mean of miss rate and false-alarm rate at the threshold where the two
    are closest (SpeechBrain's definition); a trial is rejected when its
    score is at most the threshold.

    Arguments
    ---------
    mated, nonmated : numpy.ndarray
        Weights of the trials at each pooled score, ``[..., n_pooled]``.

    Returns
    -------
    numpy.ndarray
        In [0, 1], ``[...]``; NaN where all weights of one kind are 0.
    """
    missed = np.cumsum(mated, -1)
    rejected = np.cumsum(nonmated, -1)
    n_mated, n_nonmated = missed[..., -1:], rejected[..., -1:]
    accepted = n_nonmated - rejected
    # Over a common denominator counts stay whole, and equal gaps are equal:
    # the first of them counts, whatever the rounding.
    gap = np.abs(missed * n_nonmated - accepted * n_mated)
    best = np.argmin(gap, axis=-1)[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = (
            np.take_along_axis(missed, best, -1) / n_mated
            + np.take_along_axis(accepted, best, -1) / n_nonmated
        )
    return rates[..., 0] / 2


def equal_error_rate(mated, nonmated):
    """Equal error rate of a list of scores, ties pooled.

    Arguments
    ---------
    mated, nonmated : array_like
        Scores; higher = more alike.

    Returns
    -------
    float
        In [0, 1]; 0.5 is guessing.

    Example
    -------
    >>> equal_error_rate([0.6, 0.7, 0.8, 0.5], [0.4, 0.3, 0.1, 0.65])
    0.25
    """
    pooled = PooledScores(mated, nonmated)
    return float(
        eer_from_counts(pooled.mated_counts(), pooled.nonmated_counts())
    )
