"""Which utterances of the audit speakers are compared with which."""

import numpy as np

from speechbrain_privacy.metrics.comparison import null_of
from speechbrain_privacy.metrics.disclosure import linkability
from speechbrain_privacy.metrics.scores import PooledScores
from speechbrain_privacy.metrics.verification import RANK_METRICS

NULL_METRICS = ("eer", "min_cllr", "expected_disclosure")


def all_pairs(speakers):
    """Every pair of utterances once.

    Arguments
    ---------
    speakers : numpy.ndarray
        ``[utterances]``.

    Returns
    -------
    groups : list
        Enrolments: each utterance alone.
    chosen : tuple of numpy.ndarray
        Rows and columns of the score matrix ``[groups, utterances]``.
    left, right : numpy.ndarray
        Speakers of both sides of each trial.
    """
    chosen = np.triu_indices(len(speakers), 1)
    groups = [[i] for i in range(len(speakers))]
    return groups, chosen, speakers[chosen[0]], speakers[chosen[1]]


def enrolments_of(speakers, size, seed=0):
    """Speaker models of ``size`` utterances against all other utterances.

    The utterances of a speaker are shuffled and cut into models; what is
    left over still serves as test.

    Arguments
    ---------
    speakers : numpy.ndarray
        ``[utterances]``.
    size : int
        Utterances of a model.
    seed : int

    Returns
    -------
    tuple
        As ``all_pairs``; no group if no speaker has enough utterances.

    Example
    -------
    >>> groups, chosen, left, right = enrolments_of(np.array(list("aaaab")), 3)
    >>> len(groups), int((left == right).sum()), int((left != right).sum())
    (1, 1, 1)
    """
    rng = np.random.default_rng(seed)
    groups, owners = [], []
    for name in np.unique(speakers):
        own = rng.permutation(np.flatnonzero(speakers == name))
        for start in range(0, len(own) - size + 1, size):
            groups.append(own[start : start + size].tolist())
            owners.append(name)
    usable = np.ones((len(groups), len(speakers)), dtype=bool)
    for row, group in zip(usable, groups):
        row[group] = False
    chosen = np.nonzero(usable)
    return groups, chosen, np.array(owners)[chosen[0]], speakers[chosen[1]]


def shuffled_speakers(scores, speakers, n_permutations=100, seed=0):
    """What metrics come to if the utterances' speakers are shuffled.

    Arguments
    ---------
    scores : numpy.ndarray
        Of ``all_pairs``.
    speakers : numpy.ndarray
        ``[utterances]``.
    n_permutations, seed : int

    Returns
    -------
    dict
        Metric -> ``Null``; ``linkability`` among them where it is defined.
    """
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(len(speakers), 1)
    names = list(NULL_METRICS)
    found = []
    for _ in range(n_permutations):
        who = rng.permutation(speakers)
        mated = who[first] == who[second]
        pooled = PooledScores(scores[mated], scores[~mated])
        blocks = pooled.blocks()
        row = [RANK_METRICS[name](blocks) for name in names]
        try:
            row.append(linkability(pooled))
        except ArithmeticError:
            row.append(np.nan)
        found.append(row)
    nulls = dict(zip([*names, "linkability"], np.array(found).T))
    return {
        name: null_of(values)
        for name, values in nulls.items()
        if np.isfinite(values).all()
    }
