"""Was this utterance, or this speaker, in the training data?

Numpy only: a model's losses in, scores out (higher = rather a member), to be
read with ``metrics.verification`` (members are the mated ones).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

#: Shadow models on each side that an estimate of their spread needs.
FEWEST = 2


def threshold_scores(losses):
    """The loss-threshold attack (Yeom et al., CSF 2018).

    Arguments
    ---------
    losses : array_like
        Of the attacked model, per utterance.

    Returns
    -------
    numpy.ndarray
        Minus the loss: a model knows what it was trained on.
    """
    losses = np.asarray(losses, float)
    if not np.isfinite(losses).all():
        raise ValueError("a loss is NaN or infinite")
    return -losses


def lira_scores(target, shadows, members, shared_spread=None):
    """Likelihood-ratio attack with shadow models (Carlini et al., S&P 2022).

    Each utterance's loss under the attacked model is held against two
    normal distributions, of its losses under shadow models that were
    trained with it and without it. Where no shadow model had it (offline
    attack), only the second is used.

    Arguments
    ---------
    target : array_like
        Losses of the attacked model, ``[utterances]``; best as
        log(p / (1 - p)) of the correct answer, negated.
    shadows : array_like
        The same of every shadow model, ``[models, utterances]``.
    members : array_like
        Boolean ``[models, utterances]``: which were trained with what.
    shared_spread : bool, optional
        One standard deviation for all utterances, which few models need.
        Default: with fewer than 16 on a side.

    Returns
    -------
    numpy.ndarray
        Log-likelihood ratios ``[utterances]`` (offline: minus the log
        probability of a loss so low without the utterance).

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> members = (np.arange(8)[:, None] + np.arange(50)) % 2 == 0
    >>> shadows = 2.0 - members + 0.1 * rng.normal(size=(8, 50))
    >>> scores = lira_scores([1.0] * 25 + [2.0] * 25, shadows, members)
    >>> bool(scores[:25].min() > scores[25:].max())
    True
    """
    target = np.asarray(target, float)
    shadows, members = np.asarray(shadows, float), np.asarray(members, bool)
    if shadows.shape != members.shape or shadows.shape[1:] != target.shape:
        raise ValueError(
            f"losses of {len(target)} utterances need shadow losses and "
            f"members of [models, {len(target)}], not {shadows.shape} and "
            f"{members.shape}"
        )
    if not (np.isfinite(target).all() and np.isfinite(shadows).all()):
        raise ValueError("a loss is NaN or infinite")
    outside = ~members
    if outside.sum(0).min() < FEWEST:
        raise ValueError(
            f"every utterance must be left out of {FEWEST} shadow models or "
            f"more; one is left out of {outside.sum(0).min()}"
        )
    few = min(
        outside.sum(0).min(), members.sum(0).min() or outside.sum(0).min()
    )
    shared = few < 16 if shared_spread is None else shared_spread
    without = _normal(target, shadows, outside, shared)
    if members.sum(0).min() < FEWEST:
        if members.any():
            raise ValueError(
                f"every utterance must be in {FEWEST} shadow models or more, "
                "or none in any"
            )
        return -without.log_cdf
    return _normal(target, shadows, members, shared).log_density - (
        without.log_density
    )


@dataclass(frozen=True)
class _Fit:
    log_density: np.ndarray
    log_cdf: np.ndarray


def _normal(target, shadows, used, shared):
    """The target's losses under normals fitted per utterance."""
    count = used.sum(0)
    mean = np.where(used, shadows, 0.0).sum(0) / count
    square = np.where(used, (shadows - mean) ** 2, 0.0).sum(0)
    if shared:
        spread = np.sqrt(square.sum() / (count - 1).sum())
    else:
        spread = np.sqrt(square / (count - 1))
    normal = norm(mean, np.maximum(spread, 1e-6))
    return _Fit(normal.logpdf(target), normal.logcdf(target))


def by_speaker(scores, speakers):
    """Mean score of each speaker: was anything of theirs in training?

    Arguments
    ---------
    scores : array_like
        Per utterance.
    speakers : array_like
        Per utterance.

    Returns
    -------
    names : numpy.ndarray
        The speakers.
    means : numpy.ndarray
        One score each.
    """
    names, place = np.unique(np.asarray(speakers), return_inverse=True)
    return names, np.bincount(place, np.asarray(scores, float)) / np.bincount(
        place
    )
