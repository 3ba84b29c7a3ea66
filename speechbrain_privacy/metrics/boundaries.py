"""How well boundaries in time were found: precision, recall, R-value."""

from dataclasses import dataclass

import numpy as np

TOLERANCE = 0.02


@dataclass(frozen=True)
class BoundaryReport:
    """Shares of boundaries; ``over_segmentation`` is recall / precision - 1.

    The R-value (Räsänen et al., "An improved speech segmentation quality
    measure: the R-value", Interspeech 2009) is 1 for perfect boundaries and,
    unlike F1, falls when more of them buy recall.
    """

    precision: float
    recall: float
    f1: float
    over_segmentation: float
    r_value: float
    n_reference: int
    n_found: int


def evaluate_boundaries(reference, found, tolerance=TOLERANCE):
    """Scores boundaries strictly: one hit for one reference boundary.

    Arguments
    ---------
    reference, found : dict
        Utterance -> times in seconds, any order. Both hold the same
        utterances.
    tolerance : float
        In seconds; a hit lies at most this far away.

    Returns
    -------
    BoundaryReport

    Raises
    ------
    ValueError
        If an utterance is missing, a time is not finite, or either side has
        no boundary at all.

    Example
    -------
    >>> report = evaluate_boundaries(
    ...     {"a": [0.10, 0.30]}, {"a": [0.11, 0.12, 0.31, 0.5]}
    ... )
    >>> report.recall, report.precision, report.over_segmentation
    (1.0, 0.5, 1.0)
    """
    if reference.keys() != found.keys():
        odd = sorted(reference.keys() ^ found.keys())
        raise ValueError(
            f"'{odd[0]}' has reference boundaries or found ones, not both"
        )
    hits = n_reference = n_found = 0
    for name, times in reference.items():
        sides = [np.sort(np.asarray(t, float)) for t in (times, found[name])]
        if not all(np.isfinite(side).all() for side in sides):
            raise ValueError(f"'{name}': a time is NaN or infinite")
        hits += count_hits(*sides, tolerance)
        n_reference += len(sides[0])
        n_found += len(sides[1])
    if not n_reference or not n_found:
        raise ValueError("there are no boundaries to compare")
    precision, recall = hits / n_found, hits / n_reference
    over = n_found / n_reference - 1
    far = np.hypot(1 - recall, over)
    aside = (recall - 1 - over) / np.sqrt(2)
    return BoundaryReport(
        precision=precision,
        recall=recall,
        f1=2 * hits / (n_found + n_reference),
        over_segmentation=over,
        r_value=float(1 - (abs(far) + abs(aside)) / 2),
        n_reference=n_reference,
        n_found=n_found,
    )


def count_hits(reference, found, tolerance=TOLERANCE):
    """The most pairs that can be made of two sorted lists of times.

    Arguments
    ---------
    reference, found : numpy.ndarray
        Sorted, in seconds.
    tolerance : float
        Pairs lie no further apart.

    Returns
    -------
    int
    """
    # Rounding must not decide about a boundary on the edge.
    tolerance = tolerance + 1e-6
    i = j = hits = 0
    while i < len(reference) and j < len(found):
        apart = found[j] - reference[i]
        if abs(apart) <= tolerance:
            hits, i, j = hits + 1, i + 1, j + 1
        elif apart < 0:
            j += 1
        else:
            i += 1
    return hits
