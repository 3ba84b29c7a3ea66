"""A mixed model of error counts: groups, and the speakers in them."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln, logsumexp
from scipy.stats import norm

from speechbrain_privacy.metrics.fairness import check_counts, crossed


@dataclass(frozen=True)
class PoissonMixedModel:
    """A fitted model log E[errors] = log(words) + group + speaker.

    ``effects[name]`` is a group's log rate against the reference group,
    with its standard error, ratio (e^effect), 95 % limits of the ratio and
    two-sided p-value. ``speaker_sd`` is the standard deviation of the random
    speaker effect, on the log scale.
    """

    reference: str
    intercept: float
    effects: dict
    speaker_sd: float
    log_likelihood: float
    n_speakers: int


def poisson_mixed_model(
    errors, words, speakers, groups, reference=None, n_nodes=15
):
    """Fits groups' error rates with a random effect of the speaker.

    After Liu et al., "Model-based approach for measuring the fairness in
    ASR", ICASSP 2022. The speaker's effect is integrated out by adaptive
    Gauss-Hermite quadrature, all speakers at once. Standard errors are from
    the observed information.

    Arguments
    ---------
    errors, words : array_like
        Per utterance.
    speakers : array_like
        Per utterance; each is in one group.
    groups : array_like, or list of array_like
        Per utterance; several columns are crossed.
    reference : str, optional
        The group the others are compared with. Default: the largest.
    n_nodes : int
        Quadrature nodes; 1 is the Laplace approximation.

    Returns
    -------
    PoissonMixedModel

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> group = np.repeat(["F", "M"], 200)
    >>> speaker = np.repeat(np.arange(40), 10)
    >>> rate = 0.1 * np.where(group == "M", 2.0, 1.0)
    >>> rate = rate * np.exp(0.3 * rng.normal(size=40))[speaker]
    >>> errors, words = rng.poisson(20 * rate), np.full(400, 20)
    >>> model = poisson_mixed_model(errors, words, speaker, group, "F")
    >>> 1.4 < model.effects["M"]["ratio"] < 2.8
    True
    """
    errors, words = np.asarray(errors, float), np.asarray(words, float)
    names, unknown = crossed(groups)
    check_counts(errors, words, np.asarray(speakers), names)
    used = ~unknown & (words > 0)
    # Poisson: a speaker's totals say all.
    who, place = np.unique(np.asarray(speakers)[used], return_inverse=True)
    y = np.bincount(place, errors[used])
    offset = np.log(np.bincount(place, words[used]))
    group = np.empty(len(who), dtype=object)
    group[place] = names[used]
    if (group[place] != names[used]).any():
        raise ValueError("a speaker is in more than one group")
    levels, counts = np.unique(group.astype(str), return_counts=True)
    if len(levels) < 2 or len(who) < len(levels) + 2:
        raise ValueError(
            f"{len(who)} speakers in {len(levels)} groups are too few to "
            "tell a group's effect from its speakers'"
        )
    for level in levels:
        if y[group == level].sum() == 0:
            raise ValueError(
                f"group '{level}' makes no errors: its effect is unbounded"
            )
    reference = (
        str(levels[np.argmax(counts)]) if reference is None else reference
    )
    if reference not in levels:
        raise ValueError(f"there is no group '{reference}'")
    others = [str(level) for level in levels if level != reference]
    design = np.column_stack(
        [np.ones(len(who)), *(group == name for name in others)]
    ).astype(float)
    nodes, log_weights = _hermite(n_nodes)

    def loss(parameters):
        *beta, log_sd = parameters
        return -_log_likelihood(
            y, offset + design @ beta, np.exp(log_sd), nodes, log_weights
        )

    start = np.zeros(design.shape[1] + 1)
    start[0] = np.log(max(y.sum(), 0.5)) - logsumexp(offset)
    start[-1] = np.log(0.3)
    bounds = [(None, None)] * design.shape[1] + [(np.log(1e-4), np.log(10.0))]
    fit = minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    best = minimize(
        loss, fit.x, method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 4000},
    )  # fmt: skip
    at = best.x if best.fun <= fit.fun else fit.x
    spread = _covariance(loss, at, design.shape[1])
    effects = {}
    for i, name in enumerate(others, start=1):
        error = float(np.sqrt(spread[i, i]))
        effects[name] = {
            "effect": float(at[i]),
            "error": error,
            "ratio": float(np.exp(at[i])),
            "low": float(np.exp(at[i] - 1.959964 * error)),
            "high": float(np.exp(at[i] + 1.959964 * error)),
            "p_value": float(2 * norm.sf(abs(at[i]) / error)),
        }
    return PoissonMixedModel(
        reference=reference,
        intercept=float(at[0]),
        effects=effects,
        speaker_sd=float(np.exp(at[-1])),
        log_likelihood=float(-loss(at)),
        n_speakers=len(who),
    )


def _hermite(n_nodes):
    """Nodes and log weights for the standard normal density."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    return nodes, np.log(weights) - 0.5 * np.log(2 * np.pi)


def _log_likelihood(y, eta, sd, nodes, log_weights):
    """Marginal log-likelihood; eta is the log mean without the speaker."""
    # The mode of u in y (eta + sd u) - e^(eta + sd u) - u^2 / 2, by Newton.
    u = np.zeros_like(eta)
    for _ in range(50):
        mean = np.exp(np.minimum(eta + sd * u, 50.0))
        step = (sd * (y - mean) - u) / (sd * sd * mean + 1)
        u += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-10:
            break
    scale = 1 / np.sqrt(sd * sd * np.exp(np.minimum(eta + sd * u, 50.0)) + 1)
    z = u[:, None] + scale[:, None] * nodes
    inner = eta[:, None] + sd * z
    log_joint = y[:, None] * inner - np.exp(np.minimum(inner, 50.0)) - z * z / 2
    values = log_joint + nodes**2 / 2 + log_weights
    return float(
        np.sum(logsumexp(values, axis=1) + np.log(scale) - gammaln(y + 1))
    )


def _covariance(loss, at, n_fixed):
    """Inverse of the numerical Hessian; the deviation may be at its bound."""
    n = len(at)
    free = range(n) if at[-1] > np.log(1e-3) else range(n_fixed)
    h = 1e-4

    def shifted(*moves):
        x = at.copy()
        for i, sign in moves:
            x[i] += sign * h
        return loss(x)

    hessian = np.array(
        [
            [
                (
                    shifted((i, 1), (j, 1))
                    - shifted((i, 1), (j, -1))
                    - shifted((i, -1), (j, 1))
                    + shifted((i, -1), (j, -1))
                )
                / (4 * h * h)
                for j in free
            ]
            for i in free
        ]
    )
    return np.linalg.inv(hessian)
