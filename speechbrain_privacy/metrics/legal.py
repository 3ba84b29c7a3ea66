"""Can a speaker be linked, or singled out? The two legal criteria.

After Vauquier et al., "Legally validated evaluation framework for voice
anonymization", Interspeech 2025. Each searches a set of so many speakers:
the larger the set, the harder.
"""

import numpy as np
from scipy.special import gammaln

from speechbrain_privacy.metrics.uncertainty import intervals_of

#: Speakers that are searched, and items of each speaker that are used.
SET_SIZE = 10
MAX_ITEMS = 5
#: A list with fewer than one in so many of the possible trials has no matrix.
SPARSE = 20


def legal_criteria(
    scores, models, items, set_size=SET_SIZE, seed=0, level=0.95
):
    """Linking and singling out from a matrix of scores.

    Each speaker's first model is their enrolment. As many items of every
    speaker as all have (five at most) take turns as the item that is
    searched for; the others calibrate the predicates.

    Arguments
    ---------
    scores : array_like
        ``[models, items]``, higher = more alike; NaN where model and item
        are not compared (an item in its own model).
    models, items : array_like
        Speaker of each model and of each item. Speakers who do not have
        both are left out.
    set_size : int
        Speakers in a set, the right one included; one fewer than all, at
        most, since intervals leave one out.
    seed : int
        Of the sets for singling out.
    level : float
        Of the intervals over speakers.

    Returns
    -------
    dict
        ``linking`` and, with two items or more, ``singling_out`` as
        ``Interval``.

    Raises
    ------
    ValueError
        If there are fewer than three speakers with a model and an item
        that every model is compared with.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> who = np.repeat(np.arange(12), 4)
    >>> x = rng.normal(size=(12, 6))[who] + 0.3 * rng.normal(size=(48, 6))
    >>> scores = x @ x.T
    >>> np.fill_diagonal(scores, np.nan)
    >>> legal_criteria(scores, who, who)["linking"].value > 0.5
    True
    """
    cube, names = _cube(scores, models, items)
    n, n_items = len(names), cube.shape[2]
    size = min(set_size, n - 1)
    linked, without = zip(
        *(_linked(cube[:, :, k].T, size) for k in range(n_items))
    )
    estimates = {"linking": float(np.mean(linked))}
    replicates = {"linking": np.mean(without, axis=0)}
    if n_items > 1:
        # Runs without a speaker are runs on a list without that speaker.
        with_speaker = np.zeros((2, n))
        total = np.zeros(2)
        for k in range(n_items):
            runs, sets = _predicate_runs(
                cube[:, :, k],
                np.delete(cube, k, 2),
                size,
                n_runs=100,
                seed=seed + k,
            )
            total += runs.sum(), runs.size
            for row, weight in enumerate((np.repeat(runs, size), None)):
                with_speaker[row] += np.bincount(sets.ravel(), weight, n)
        estimates["singling_out"] = float(total[0] / total[1])
        left = total[:, None] - with_speaker
        replicates["singling_out"] = left[0] / left[1]
    return intervals_of(estimates, replicates, n, level=level)


def criteria_of_trials(scores, enrolments, trials, left, right, **settings):
    """``legal_criteria`` of a list of trials.

    Arguments
    ---------
    scores : array_like
        ``[n_trials]``.
    enrolments, trials : array_like
        Names of the two sides. A pair that was compared one way round counts
        both ways where both sides occur as both.
    left, right : array_like
        Their speakers.
    **settings
        Of ``legal_criteria``.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        As ``legal_criteria``; if far fewer pairs were compared than there
        are, a name is missing, or it is that of two speakers.
    """
    from pandas import factorize  # slow to import

    both = np.concatenate([np.asarray(enrolments), np.asarray(trials)])
    codes, names = factorize(both)
    if (codes < 0).any():
        raise ValueError("a trial lacks the name of one of its sides")
    speaker = np.empty(len(names), dtype=object)
    who = np.concatenate([np.asarray(left), np.asarray(right)]).astype(str)
    speaker[codes] = who
    if len(clash := np.flatnonzero(speaker[codes] != who)):
        raise ValueError(
            f"'{both[clash[0]]}' is spoken by '{who[clash[0]]}' and by "
            f"'{speaker[codes[clash[0]]]}'"
        )
    i, j = np.split(codes, 2)
    rows, columns = np.unique(i), np.unique(j)
    either = len(np.intersect1d(rows, columns)) > 0
    if either:
        rows = columns = np.arange(len(names))
    if len(rows) * len(columns) > SPARSE * len(i):
        raise ValueError(
            f"{len(i)} trials of {len(rows)} enrolments and {len(columns)} "
            "items: linking needs everybody against everybody"
        )
    matrix = np.full((len(rows), len(columns)), np.nan)
    i, j = np.searchsorted(rows, i), np.searchsorted(columns, j)
    if either:
        matrix[j, i] = scores
    matrix[i, j] = scores
    return legal_criteria(matrix, speaker[rows], speaker[columns], **settings)


def guessing(set_size=SET_SIZE):
    """What the criteria come to if scores tell nothing.

    Arguments
    ---------
    set_size : int

    Returns
    -------
    dict
        Of singling out with many items for calibration; with few it is
        lower.
    """
    return {"linking": 1 / set_size, "singling_out": float(np.exp(-1))}


def _cube(scores, models, items):
    """``[speaker's model, speaker, item]`` of comparisons that were made."""
    scores = np.asarray(scores, float)
    models, items = np.asarray(models), np.asarray(items)
    if scores.shape != (len(models), len(items)):
        raise ValueError(
            f"scores are {' x '.join(map(str, scores.shape))}, the speakers "
            f"{len(models)} x {len(items)}"
        )
    names = np.intersect1d(models, items)
    rows = [np.flatnonzero(models == name)[0] for name in names]
    compared = np.isfinite(scores[rows]).all(0) if len(rows) else []
    own = [np.flatnonzero((items == name) & compared) for name in names]
    # Who has one item only would leave nothing to calibrate predicates on.
    usable = [i for i, some in enumerate(own) if len(some) > 1]
    if len(usable) < 3:
        usable = [i for i, some in enumerate(own) if len(some)]
    if len(usable) < 3:
        raise ValueError(
            f"{len(usable)} speakers have a model and an item that every "
            "model is compared with: linking needs three or more"
        )
    n_items = min(MAX_ITEMS, *(len(own[i]) for i in usable))
    columns = np.stack([own[i][:n_items] for i in usable])
    return scores[np.array(rows)[usable]][:, columns], names[usable]


def _linked(scores, size):
    """Mean linking probability, and that without each speaker, ``[n]``."""
    n = len(scores)
    own = np.diag(scores)[:, None]
    higher, same = scores > own, scores == own
    above, equal = higher.sum(1), same.sum(1) - 1
    whole = _first_of_drawn(above, equal, n - 1, size - 1)
    # Row i if speaker j is left out: one candidate fewer, a rival or not.
    left = _first_of_drawn(
        above[:, None] - higher, equal[:, None] - same, n - 2, size - 1
    )
    np.fill_diagonal(left, 0.0)
    return whole.mean(), left.sum(0) / (n - 1)


def linking_probability(scores, n_speakers=None):
    """Chance that a test item is linked to its own enrolment.

    Legal criterion "linkability" (Vauquier et al., 2025): the own enrolment
    scores higher than ``n_speakers - 1`` others, drawn without replacement;
    here the expectation over all draws is exact. A tie is shared: with the j
    enrolments that score the same and are drawn, the chance is 1 / (j + 1).

    Arguments
    ---------
    scores : array_like
        ``[test, enrolment]``, item i's own enrolment in column i; more
        columns than rows are further speakers.
    n_speakers : int, optional
        Size of the set that is searched. Default: all enrolments.

    Returns
    -------
    numpy.ndarray
        One probability per test item; its mean is the metric. Guessing:
        1 / ``n_speakers``.

    Example
    -------
    >>> scores = [[0.9, 0.1, 0.2], [0.8, 0.7, 0.1], [0.0, 0.1, 0.6]]
    >>> linking_probability(scores, 2)
    array([1. , 0.5, 1. ])
    """
    scores = _score_matrix(scores)
    n_rows, n_columns = scores.shape
    n_speakers = n_columns if n_speakers is None else n_speakers
    if not 1 <= n_speakers <= n_columns:
        raise ValueError(
            f"{n_speakers} speakers cannot be drawn from {n_columns} enrolments"
        )
    own = scores[np.arange(n_rows), np.arange(n_rows)][:, None]
    return _first_of_drawn(
        (scores > own).sum(1),
        (scores == own).sum(1) - 1,
        n_columns - 1,
        n_speakers - 1,
    )


def _first_of_drawn(above, equal, others, drawn):
    """Chance to come first if so many of the others are drawn."""
    none_above = _none_drawn(above, others, drawn)
    result = none_above.copy()
    for i in zip(*np.nonzero((equal > 0) & (none_above > 0))):
        # No better one is drawn, and j of the ties are.
        rest = others - above[i]
        j = np.arange(min(equal[i], drawn) + 1)
        chance = np.exp(
            _log_choose(equal[i], j)
            + _log_choose(rest - equal[i], drawn - j)
            - _log_choose(rest, drawn)
        )
        result[i] = none_above[i] * np.sum(chance / (j + 1))
    return result


def _log_choose(n, k):
    """Log of the binomial coefficient, -inf where it is 0."""
    n, k = np.broadcast_arrays(np.asarray(n, float), np.asarray(k, float))
    possible = (k >= 0) & (k <= n)
    result = np.full(n.shape, -np.inf)
    n, k = n[possible], k[possible]
    result[possible] = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return result


def _none_drawn(marked, total, drawn):
    """Chance that none of some marked items is among those drawn."""
    return np.exp(
        _log_choose(total - marked, drawn) - _log_choose(total, drawn)
    )


def singling_out_probability(
    scores, calibration, n_speakers=None, n_runs=100, seed=0
):
    """Chance that a predicate isolates exactly one speaker.

    Legal criterion "singling out" (Vauquier et al., 2025, after Cohen and
    Nissim's predicate singling out): an enrolment and a threshold make a
    predicate "its score is higher"; it isolates if it holds for exactly one
    of ``n_speakers`` test items, whosever. The threshold lets as many of the
    calibration items of the same speakers pass as each of them has, so that
    the predicate is expected to hold once. A random predicate with this
    expectation isolates with chance 1/e = 0.37. That is the level of guessing
    with many calibration items; with few the threshold is unsure, and it is
    lower (about 0.29 with one item of each of ten speakers, 0.35 with five):
    run the same sizes on shuffled scores to know.

    Arguments
    ---------
    scores : array_like
        ``[enrolment, test]``; enrolment i is the speaker of column i.
    calibration : array_like
        ``[enrolment, test speaker, items]``: other items of the same
        speakers.
    n_speakers : int, optional
        Size of a set, the own speaker included. Default: all (one run).
    n_runs : int
        Random sets of speakers for each enrolment.
    seed : int

    Returns
    -------
    numpy.ndarray
        Share of the runs in which each enrolment isolated; its mean is the
        metric.
    """
    runs, _ = _predicate_runs(scores, calibration, n_speakers, n_runs, seed)
    return runs.mean(1)


def _predicate_runs(scores, calibration, n_speakers, n_runs, seed):
    """Which runs isolate, ``[enrolment, run]``, and their sets of speakers."""
    scores = _score_matrix(scores)
    calibration = np.asarray(calibration, float)
    n_rows, n_columns = scores.shape
    if calibration.shape[:2] != scores.shape or calibration.ndim != 3:
        raise ValueError(
            f"scores are {n_rows} x {n_columns}; calibration scores must be "
            f"{n_rows} x {n_columns} x items, not "
            f"{' x '.join(map(str, calibration.shape))}"
        )
    if not np.isfinite(calibration).all():
        raise ValueError("a calibration score is NaN or infinite")
    n_speakers = n_columns if n_speakers is None else n_speakers
    if not 2 <= n_speakers <= n_columns:
        raise ValueError(
            f"{n_speakers} speakers cannot be drawn from {n_columns}"
        )
    n_runs = 1 if n_speakers == n_columns else n_runs
    n_items = calibration.shape[2]
    rng = np.random.default_rng(seed)
    isolated = np.zeros((n_rows, n_runs), dtype=bool)
    sets = np.empty((n_rows, n_runs, n_speakers), dtype=int)
    for i in range(n_rows):
        # Every run at once: the smallest random keys, the own one always.
        keys = rng.random((n_runs, n_columns))
        keys[:, i] = -1.0
        chosen = np.argpartition(keys, n_speakers - 1, axis=1)[:, :n_speakers]
        known = calibration[i][chosen].reshape(n_runs, -1)
        top = np.partition(known, -(n_items + 1), axis=1)[:, -(n_items + 1) :]
        top.sort(axis=1)
        threshold = (top[:, 0] + top[:, 1]) / 2
        fired = (scores[i][chosen] > threshold[:, None]).sum(1)
        isolated[i] = fired == 1
        sets[i] = chosen
    return isolated, sets


def _score_matrix(scores):
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or scores.shape[0] > scores.shape[1]:
        raise ValueError(
            "scores must be a matrix with one row for each of its first "
            f"columns, not {' x '.join(map(str, scores.shape))}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("a score is NaN or infinite")
    return scores
