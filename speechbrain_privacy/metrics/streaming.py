"""Metrics of lists that do not fit into memory, with rigorous bounds.

Scores are counted in a fine histogram. Where inside a bin they lay is
forgotten, so every metric is known up to what the order inside the bins could
change; both extremes are computed.
"""

from dataclasses import dataclass

import numpy as np

from speechbrain_privacy.metrics.disclosure import (
    expected_disclosure,
    linkability_of,
)
from speechbrain_privacy.metrics.scores import (
    MAX_BINS,
    TRIALS_PER_BIN,
    Blocks,
)
from speechbrain_privacy.metrics.verification import (
    auc,
    cllr_sum,
    eer,
    interpolated_eer,
    min_cllr,
    rocch_eer,
)

#: Bounds from the two extreme orders inside every bin.
BOUNDED = {
    "interpolated_eer": interpolated_eer,
    "rocch_eer": rocch_eer,
    "min_cllr": min_cllr,
    "expected_disclosure": expected_disclosure,
    "auc": auc,
}


@dataclass(frozen=True)
class StreamingReport:
    """Metrics of a streamed list: values, and bounds that hold for certain.

    ``values[name]`` treats the scores of a bin as ties; the metric of the
    list itself lies in ``bounds[name]``. ``cllr`` is exact (no bounds).
    ``n_outside`` scores lay outside the histogram.
    """

    values: dict
    bounds: dict
    n_mated: int
    n_nonmated: int
    n_outside: int


class ScoreHistogram:
    """Counts scores as they come.

    Arguments
    ---------
    low, high : float
        Where scores are expected (-1 and 1 for cosines). Scores outside are
        counted in the first and the last bin: the bounds stay true, and
        widen; D_sys is left out then.
    n_bins : int
        Memory is 16 bytes for each.

    Example
    -------
    >>> histogram = ScoreHistogram(-5, 5)
    >>> rng = np.random.default_rng(0)
    >>> for _ in range(3):
    ...     histogram.add(rng.normal(1, 1, 1000), rng.normal(-1, 1, 9000))
    >>> report = histogram.report()
    >>> low, high = report.bounds["min_cllr"]
    >>> low <= report.values["min_cllr"] <= high, high - low < 1e-4
    (True, True)
    """

    def __init__(self, low=-1.0, high=1.0, n_bins=1 << 20):
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise ValueError(f"a histogram from {low} to {high} has no range")
        if n_bins < 2:
            raise ValueError(
                f"a histogram needs two bins or more, not {n_bins}"
            )
        self.low, self.high, self.n_bins = float(low), float(high), int(n_bins)
        self._counts = np.zeros((2, self.n_bins), dtype=np.int64)
        self._cllr = [0.0, 0.0]
        self._outside = 0

    def add(self, mated=(), nonmated=()):
        """Counts some more scores.

        Arguments
        ---------
        mated, nonmated : array_like

        Raises
        ------
        ValueError
            If a score is NaN or infinite; nothing is counted then.
        """
        both = [np.asarray(s, float).reshape(-1) for s in (mated, nonmated)]
        for scores, name in zip(both, ("mated", "non-mated")):
            bad = np.count_nonzero(~np.isfinite(scores))
            if bad:
                raise ValueError(
                    f"{bad} of {len(scores)} {name} scores are NaN or infinite"
                )
        for kind, (scores, sign) in enumerate(zip(both, (-1.0, 1.0))):
            self._cllr[kind] += cllr_sum(scores, sign)
            self._outside += int(
                np.count_nonzero((scores < self.low) | (scores > self.high))
            )
            for start in range(0, len(scores), 1 << 20):
                self._count(kind, scores[start : start + (1 << 20)])

    def _count(self, kind, scores):
        # Any monotone map to bins will do: rounding cannot break the bounds.
        place = (scores - self.low) * (self.n_bins / (self.high - self.low))
        np.clip(place, 0, self.n_bins - 1, out=place)
        self._counts[kind] += np.bincount(
            place.astype(np.int64), minlength=self.n_bins
        )

    def report(self):
        """Metrics and bounds of everything counted so far.

        Returns
        -------
        StreamingReport

        Raises
        ------
        ValueError
            If one kind of trial has not come.
        """
        mated, nonmated = self._counts[:, self._counts.any(0)].astype(float)
        pooled = Blocks.of_histogram(mated, nonmated)
        n_mated, n_nonmated = map(int, pooled.totals)
        none = np.zeros_like(mated)
        # The best and the worst order inside every bin.
        best = _split((none, nonmated), (mated, none))
        worst = _split((mated, none), (none, nonmated))
        values = {name: metric(pooled) for name, metric in BOUNDED.items()}
        bounds = {
            name: tuple(sorted((metric(best), metric(worst))))
            for name, metric in BOUNDED.items()
        }
        values["eer"] = eer(pooled)
        bounds["eer"] = _eer_bounds(pooled)
        values["cllr"] = (
            (self._cllr[0] / n_mated + self._cllr[1] / n_nonmated) / 2
        )  # fmt: skip
        # D_sys has bins over the whole range, which is unknown outside.
        if n_mated >= TRIALS_PER_BIN and not self._outside:
            values["linkability"], bounds["linkability"] = self._linkability()
        return StreamingReport(
            values, bounds, n_mated, n_nonmated, self._outside
        )

    def _linkability(self):
        """D_sys on coarse bins made of fine ones, and its bounds.

        A fine bin at an edge of the coarse histogram may belong to either
        side, as may its neighbours, since the list's own range is known to a
        fine bin. Moving a share p of the mated and q of the non-mated trials
        changes D_sys by at most 2 p + 4 q.
        """
        used = np.flatnonzero(self._counts.any(0))
        counts = self._counts[:, used[0] : used[-1] + 1]
        totals = counts.sum(1)
        n_coarse = int(min(MAX_BINS, totals[0] // TRIALS_PER_BIN))
        n_fine = counts.shape[1]
        coarse = (np.arange(n_fine) * n_coarse) // n_fine
        mated, nonmated = (
            np.bincount(coarse, weights=row, minlength=n_coarse) / total
            for row, total in zip(counts, totals)
        )
        value = float(linkability_of(mated, nonmated) @ mated)
        edges = np.arange(1, n_coarse) * n_fine // n_coarse
        near = np.unique(
            np.clip(edges[:, None] + [-2, -1, 0, 1], 0, n_fine - 1)
        )
        moved = counts[:, near].sum(1) / totals
        slack = float(2 * moved[0] + 4 * moved[1])
        return value, (max(0.0, value - slack), min(1.0, value + slack))


def _split(first, second):
    """Blocks of bins in which one part comes before another."""
    return Blocks.of_histogram(
        *(np.stack(both, axis=1).reshape(-1) for both in zip(first, second))
    )


def _eer_bounds(blocks):
    """Bounds of ``eer``: the threshold lies in the bin of the crossing."""
    n_mated, n_nonmated = blocks.totals
    miss = np.concatenate([[0.0], np.cumsum(blocks.mated)]) / n_mated
    alarm = 1 - np.concatenate([[0.0], np.cumsum(blocks.nonmated)]) / n_nonmated
    after = max(1, int(np.searchsorted(miss - alarm, 0.0)))
    after = min(after, len(miss) - 1)
    return (
        float(miss[after - 1] + alarm[after]) / 2,
        float(miss[after] + alarm[after - 1]) / 2,
    )
