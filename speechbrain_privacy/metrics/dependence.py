"""How much two things depend on each other, given a third: HSIC.

Source: Gretton et al., "Measuring statistical dependence with Hilbert-Schmidt
norms", ALT 2005; as a guide to pretext tasks, Zaiem et al., "Pretext tasks
selection for multitask self-supervised audio representation learning", JSTSP
2022: a task is useful if, within a class of what is wanted in the end, its
target says little of the speech.
"""

from dataclasses import dataclass

import numpy as np

HSIC, RELEASED = "hsic", "released"
SOFTMAX, SPARSEMAX = "softmax", "sparsemax"
#: Of a Gaussian kernel of standardised targets.
VARIANCE = 0.05
#: Of a loss, to divide by.
TINY = 1e-12
#: Least logarithm of a kernel.
FLOOR = -10.0


def centred(kernel, centering=HSIC):
    """A kernel matrix, from both sides.

    Arguments
    ---------
    kernel : np.ndarray
        ``[n, n]``.
    centering : str
        ``hsic`` takes means away, as the definition has it; ``released``
        subtracts ones over n squared, as the code released with Zaiem et al.
        does, which centres nothing.

    Returns
    -------
    np.ndarray

    Example
    -------
    >>> centred(np.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
    [[0.5, -0.5], [-0.5, 0.5]]
    """
    if centering not in (HSIC, RELEASED):
        raise ValueError(
            f"centering is '{HSIC}' or '{RELEASED}', not '{centering}'"
        )
    n = len(kernel)
    share = 1.0 / (n if centering == HSIC else n * n)
    sums = kernel.sum(0) + kernel.sum(1)[:, None]
    return kernel - share * (sums - share * kernel.sum())


def hsic(kernel, other, centering=HSIC):
    """The (biased) estimate, ``tr(K H L H) / n^2``; 0 says independent.

    Arguments
    ---------
    kernel, other : np.ndarray
        ``[n, n]``, symmetric, of the same n things.
    centering : str
        As in ``centred``.

    Returns
    -------
    float

    Example
    -------
    >>> x = np.array([[0.0], [1.0]])
    >>> hsic(x @ x.T, x @ x.T)
    0.0625
    """
    _check(kernel, other)
    return float((centred(kernel, centering) * other).sum() / len(kernel) ** 2)


def shuffled_hsic(kernel, other, centering=HSIC):
    """What ``hsic`` would be, had it nothing to find: the mean over all orders
    of the things of one of the two.

    Arguments
    ---------
    kernel, other, centering
        As in ``hsic``.

    Returns
    -------
    float

    Example
    -------
    >>> x = np.array([[0.0], [1.0]])
    >>> shuffled_hsic(x @ x.T, x @ x.T)  # either order is the same here
    0.0625
    """
    _check(kernel, other)
    n = len(kernel)
    k = centred(kernel, centering)
    # A pair of things goes anywhere off the diagonal, and stays off it.
    on, off = np.trace(k), k.sum() - np.trace(k)
    diagonal = np.trace(other) / n
    apart = (other.sum() - np.trace(other)) / (n * (n - 1))
    return float(on * diagonal + off * apart) / n**2


def log_gaussian(values, variance=VARIANCE):
    """Logarithm of the Gaussian kernel of numbers, not below -10.

    Arguments
    ---------
    values : array_like
        ``[n]``.
    variance : float

    Returns
    -------
    np.ndarray
        ``[n, n]``.

    Example
    -------
    >>> round(float(log_gaussian([0.0, 0.1])[0, 1]), 3)
    -0.1
    """
    values = np.asarray(values, float)
    gap = values[:, None] - values[None, :]
    return np.clip(-np.square(gap) / (2 * variance), FLOOR, 0.0)


@dataclass(frozen=True)
class TaskWeights:
    """What ``task_weights`` has found. ``alone`` is the HSIC of each task by
    itself and ``together`` of all with their ``weights``, means over classes;
    ``equal`` of all with equal weights."""

    weights: dict
    alone: dict
    together: float
    equal: float
    losses: tuple


def task_weights(
    kernels,
    targets,
    method=SPARSEMAX,
    centering=HSIC,
    steps=1000,
    lr=0.01,
    momentum=0.9,
):
    """Weights of tasks that together depend least on the speech.

    Kernels of the tasks are multiplied, each to the power of its weight; the
    HSIC with the kernel of the speech is a mean over classes. Descends from
    equal weights, on the HSIC relative to theirs: centred as it should be it
    is so small that the published step would leave weights where they were.

    Arguments
    ---------
    kernels : list of np.ndarray
        Of the speech in each class, ``[n, n]``.
    targets : list of dict
        Task -> standardised numbers ``[n]``, in each class.
    method : str
        ``softmax``, where every task keeps some weight, or ``sparsemax``
        (Martins & Astudillo, ICML 2016).
    centering : str
        As in ``centred``.
    steps : int
    lr, momentum : float

    Returns
    -------
    TaskWeights

    Example
    -------
    >>> draw = np.random.default_rng(0)
    >>> speech = draw.normal(size=(60, 2))
    >>> own = {"noise": draw.normal(size=60), "same": speech[:, 0]}
    >>> found = task_weights([speech @ speech.T], [own], steps=200)
    >>> found.alone["noise"] < found.alone["same"]
    True
    >>> found.weights["noise"] > found.weights["same"]
    True
    """
    if method not in (SOFTMAX, SPARSEMAX):
        raise ValueError(
            f"method is '{SOFTMAX}' or '{SPARSEMAX}', not '{method}'"
        )
    if not kernels or len(kernels) != len(targets):
        raise ValueError(
            f"{len(kernels)} kernels of speech and targets of {len(targets)} "
            "classes: as many, and one at least"
        )
    names = list(targets[0])
    logs, weighted = [], []
    for kernel, some in zip(kernels, targets, strict=True):
        if list(some) != names:
            raise ValueError(f"tasks are {names} and {list(some)}")
        logs.append(np.stack([log_gaussian(some[name]) for name in names]))
        _check(kernel, logs[-1][0])
        n = len(kernel)
        weighted.append(centred(kernel, centering) / n**2 / len(kernels))

    def loss_and_slope(shares):
        loss, slope = 0.0, np.zeros(len(names))
        for log, k in zip(logs, weighted, strict=True):
            product = k * np.exp(np.tensordot(shares, log, 1))
            loss += product.sum()
            slope += np.tensordot(log, product, 2)
        return float(loss), slope

    scores, speed = np.zeros(len(names)), np.zeros(len(names))
    equal, _ = loss_and_slope(np.full(len(names), 1 / len(names)))
    losses = []
    for _ in range(steps):
        shares, back = _shares(scores, method)
        loss, slope = loss_and_slope(shares)
        losses.append(loss)
        speed = momentum * speed + back(slope) / max(abs(equal), TINY)
        scores = scores - lr * speed
    shares, _ = _shares(scores, method)
    single = np.eye(len(names))
    return TaskWeights(
        dict(zip(names, map(float, shares))),
        {n: loss_and_slope(e)[0] for n, e in zip(names, single)},
        loss_and_slope(shares)[0],
        equal,
        tuple(losses),
    )


def sparsemax(scores):
    """The point of the simplex that is nearest.

    Arguments
    ---------
    scores : array_like
        ``[n]``.

    Returns
    -------
    np.ndarray

    Example
    -------
    >>> sparsemax([0.9, 0.5, -1.0]).round(2).tolist()
    [0.7, 0.3, 0.0]
    """
    scores = np.asarray(scores, float)
    falling = np.sort(scores)[::-1]
    excess = np.cumsum(falling) - 1.0
    places = np.arange(1, len(scores) + 1)
    kept = places[falling * places > excess][-1]
    return np.maximum(scores - excess[kept - 1] / kept, 0.0)


def _shares(scores, method):
    """Weights, and what carries a slope of them back to scores."""
    if method == SOFTMAX:
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        return shares, lambda g: shares * (g - (shares * g).sum())
    shares = sparsemax(scores)
    kept = shares > 0
    return shares, lambda g: np.where(kept, g - g[kept].mean(), 0.0)


def _check(kernel, other):
    for some in (kernel, other):
        some = np.asarray(some)
        if some.ndim != 2 or some.shape[0] != some.shape[1]:
            raise ValueError(
                f"a kernel is a square matrix, not {list(some.shape)}"
            )
        if not np.isfinite(some).all():
            raise ValueError("a kernel holds NaN or infinity")
    if len(kernel) != len(other) or len(kernel) < 2:
        raise ValueError(
            f"kernels of {len(kernel)} and {len(other)} things: of the same, "
            "two at least"
        )
