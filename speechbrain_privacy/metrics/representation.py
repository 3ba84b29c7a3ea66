"""What representations are like, without training anything on them.

Frames are ``[n, dim]``. None of these numbers is a downstream error; whether
one predicts it is for the user to show.
"""

from dataclasses import dataclass

import numpy as np


def checked_frames(x, name="frames", least=2):
    """An array ``[n, dim]`` of finite numbers, or why it is none.

    Arguments
    ---------
    x : array_like
    name : str
        For the error.
    least : int
        Rows that are needed.

    Returns
    -------
    numpy.ndarray
        float64.
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"{name} have shape {x.shape}, not [n, dim]")
    if len(x) < least:
        raise ValueError(f"{len(x)} {name}: at least {least} are needed")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} hold NaN or infinity")
    return x


def effective_rank(spectrum):
    """Exponential of the entropy of a spectrum's shares.

    Source: Roy & Vetterli, "The effective rank", EUSIPCO 2007.

    Arguments
    ---------
    spectrum : array_like
        Not negative.

    Returns
    -------
    float
        From 1 to how many there are.

    Example
    -------
    >>> effective_rank([2.0, 2.0, 0.0])
    2.0
    """
    spectrum = np.clip(np.asarray(spectrum, float), 0, None)
    if not spectrum.sum() > 0:
        raise ValueError("all frames are the same: there is no spectrum")
    shares = spectrum[spectrum > 0] / spectrum.sum()
    return float(round(np.exp(-(shares * np.log(shares)).sum()), 12))


def rankme(x):
    """RankMe: the effective rank of the singular values.

    Source: Garrido et al., "RankMe", ICML 2023, equation 1 (not centred). The
    singular values come from the eigenvalues of the smaller Gram matrix.

    Arguments
    ---------
    x : array_like
        ``[n, dim]``.

    Returns
    -------
    float

    Example
    -------
    >>> rankme(np.eye(5))
    5.0
    """
    x = checked_frames(x)
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    values = np.linalg.eigvalsh(gram)
    # Below what rounding leaves of a rank that is not full.
    values[values < values[-1] * len(gram) * np.finfo(float).eps] = 0.0
    return effective_rank(np.sqrt(values))


def lidar(x, groups, delta=1e-4):
    """LiDAR: the effective rank of what tells groups apart.

    Source: Thilak et al., "LiDAR: sensing linear probing performance in joint
    embedding SSL architectures", ICLR 2024, section 3: the spectrum of the
    covariance of group means after whitening by that within groups.

    Arguments
    ---------
    x : array_like
        ``[n, dim]``.
    groups : array_like
        What each frame is a view of, ``[n]``.
    delta : float
        Added to the within-group variances, which are in the unit of ``x``.

    Returns
    -------
    float
    """
    x = checked_frames(x)
    names, of = np.unique(
        _labels(groups, len(x), "groups"), return_inverse=True
    )
    counts = np.bincount(of)
    if len(names) < 2 or counts.max() < 2:
        raise ValueError("LiDAR needs two groups and two views of one of them")
    means = np.zeros((len(names), x.shape[1]))
    np.add.at(means, of, x)
    means /= counts[:, None]
    inside = x - means[of]
    between = means - means.mean(0)
    within = inside.T @ inside / (counts - 1).sum()
    values, vectors = np.linalg.eigh(within + delta * np.eye(x.shape[1]))
    whitened = between @ (vectors / np.sqrt(np.clip(values, delta, None)))
    spectrum = np.linalg.eigvalsh(whitened.T @ whitened / (len(names) - 1))
    return effective_rank(spectrum)


def alignment(x, y, power=2):
    """Mean distance of positive pairs on the unit sphere; 0 is best.

    Source: Wang & Isola, "Understanding contrastive representation learning
    through alignment and uniformity on the hypersphere", ICML 2020.

    Arguments
    ---------
    x, y : array_like
        ``[n, dim]``; row i of both is a pair.
    power : float

    Returns
    -------
    float

    Example
    -------
    >>> alignment([[1.0, 0.0]], [[0.0, 3.0]])
    2.0
    """
    x, y = (_unit(checked_frames(z, least=1)) for z in (x, y))
    if x.shape != y.shape:
        raise ValueError(f"pairs have shapes {x.shape} and {y.shape}")
    distance = np.linalg.norm(x - y, axis=1) ** power
    return float(round(distance.mean(), 12))


def uniformity(x, t=2.0):
    """Log of the mean Gaussian potential of all pairs; lower is more even.

    Source: Wang & Isola 2020.

    Arguments
    ---------
    x : array_like
        ``[n, dim]``; all pairs are compared, in blocks.
    t : float

    Returns
    -------
    float
        0 if all frames point the same way.
    """
    x = _unit(checked_frames(x))
    total = 0.0
    for start in range(0, len(x), 1024):
        products = x[start : start + 1024] @ x.T
        total += np.exp(2 * t * (np.minimum(products, 1.0) - 1)).sum()
    pairs = len(x) * (len(x) - 1)
    return float(np.log((total - len(x)) / pairs))


def linear_cka(x, y):
    """How alike two representations of the same frames are, from 0 to 1.

    Source: Kornblith et al., "Similarity of neural network representations
    revisited", ICML 2019, with the unbiased estimate of HSIC (Song et al.,
    JMLR 2012; Nguyen et al., ICLR 2021), so that unrelated representations of
    many channels are at 0 and not above.

    Arguments
    ---------
    x, y : array_like
        ``[n, dim]`` and ``[n, other dim]``.

    Returns
    -------
    float

    Example
    -------
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> round(linear_cka(x, 2 * x[:, [2, 0, 1]] + 1), 6)
    1.0
    """
    x, y = (checked_frames(z, least=4) for z in (x, y))
    if len(x) != len(y):
        raise ValueError(f"{len(x)} frames beside {len(y)}")
    # Products of four: what is large would be infinite.
    x, y = (z / max(np.abs(z).max(), np.finfo(float).tiny) for z in (x, y))
    cross = _unbiased_hsic(x, y)
    own = _unbiased_hsic(x, x), _unbiased_hsic(y, y)
    if min(own) <= 0:
        raise ValueError("all frames are the same: nothing to compare")
    return float(cross / np.sqrt(own[0] * own[1]))


def _unbiased_hsic(x, y):
    """Song et al. 2012, equation 5, of linear kernels, without ``[n, n]``."""
    x, y = x - x.mean(0), y - y.mean(0)
    n = len(x)
    k, m = (x * x).sum(1), (y * y).sum(1)  # diagonals, which are left out
    # Rows of both kernels sum to 0 before that, being centred.
    trace = ((x.T @ y) ** 2).sum() - k @ m
    sums = k.sum() * m.sum() / ((n - 1) * (n - 2))
    rows = 2 * (k @ m) / (n - 2)
    return (trace + sums - rows) / (n * (n - 3))


@dataclass(frozen=True)
class ClusterReport:
    """Discrete units beside phones.

    ``pnmi`` is the share of the phones' entropy that units tell;
    ``phone_purity`` how often a unit's most frequent phone is right and
    ``cluster_purity`` how often a phone's most frequent unit is.
    """

    pnmi: float
    phone_purity: float
    cluster_purity: float
    n_clusters: int
    n_phones: int
    n_frames: int


def cluster_report(clusters, phones):
    """Purities and phone-normalised mutual information.

    Source: Hsu et al., "HuBERT", TASLP 2021, section IV.C. They grow with the
    number of clusters: compare at one.

    Arguments
    ---------
    clusters, phones : array_like
        One label for each frame, ``[n]``.

    Returns
    -------
    ClusterReport

    Example
    -------
    >>> cluster_report([0, 0, 1, 1], list("aabb")).pnmi
    1.0
    """
    clusters = np.asarray(clusters)
    phones = _labels(phones, len(clusters), "phones")
    if len(clusters) == 0:
        raise ValueError("no frames to be compared")
    units, unit = np.unique(clusters, return_inverse=True)
    names, phone = np.unique(phones, return_inverse=True)
    if len(names) < 2:
        raise ValueError("one phone only: there is nothing to tell")
    table = np.zeros((len(names), len(units)))
    np.add.at(table, (phone, unit), 1)
    joint = table / len(clusters)
    by_phone, by_unit = joint.sum(1), joint.sum(0)
    seen = joint > 0
    independent = np.outer(by_phone, by_unit)
    shared = (joint[seen] * np.log(joint[seen] / independent[seen])).sum()
    entropy = -(by_phone * np.log(by_phone)).sum()
    return ClusterReport(
        float(round(shared / entropy, 12)),
        float(table.max(0).sum() / len(clusters)),
        float(table.max(1).sum() / len(clusters)),
        len(units),
        len(names),
        len(clusters),
    )


def _unit(x):
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if not (length > 0).all():
        raise ValueError("a frame is zero: it has no direction")
    return x / length


def _labels(labels, n, name):
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(f"{name} have shape {labels.shape}, frames are {n}")
    return labels
