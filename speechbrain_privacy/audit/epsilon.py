"""What an attack proves of the epsilon that noise promises."""

import numpy as np
import torch

from speechbrain_privacy.metrics.bounds import epsilon_lower_bound

#: Frames among which the farthest two are looked for.
MOST = 2000
#: Thresholds that are tried on one half of the draws.
THRESHOLDS = 200
#: Keeps logarithms of distances finite.
TINY = 1e-6
#: Draws of noise at a time.
BLOCK = 10_000


def farthest_frames(data, speakers, mechanism, seed=0):
    """Two frames of different speakers, far apart.

    Arguments
    ---------
    data : Representations
    speakers : dict
        Utterance -> speaker.
    mechanism : LaplaceNoise or GaussianNoise
        By whose norm frames are compared.
    seed : int
        Of the frames among which the farthest two are found: 2000, drawn,
        if there are more.

    Returns
    -------
    tuple
        Two frames ``[dim]``, as they were, and their distance after
        normalising.

    Raises
    ------
    ValueError
        If all frames are of one speaker.
    """
    names = np.array([speakers[key] for key in data.ids])
    whose = np.repeat(names, data.counts)
    drawn = np.random.default_rng(seed).permutation(len(whose))[:MOST]
    frames, whose = torch.from_numpy(data.frames[drawn]), whose[drawn]
    unit = mechanism.unit(frames)
    apart = torch.cdist(unit, unit, p=mechanism.norm).numpy()
    apart[whose[:, None] == whose] = -1.0
    first, second = np.unravel_index(apart.argmax(), apart.shape)
    if apart[first, second] < 0:
        raise ValueError("two frames of different speakers are needed")
    return frames[first], frames[second], float(apart[first, second])


def proven_epsilon(
    mechanism, first, second, draws=100_000, seed=0, confidence=0.95
):
    """A lower bound of epsilon, by the best of a few attacks.

    The attacker knows both inputs. If the noise is what it says it is,
    nothing is better than the ratio of the likelihoods; noise that is missing
    at times, or not drawn for each channel, gives itself away by distances
    and spreads. Which attack and which threshold is chosen on one half of the
    draws and counted on the other.

    Arguments
    ---------
    mechanism : LaplaceNoise or GaussianNoise
    first, second : torch.Tensor
        Frames, ``[dim]``.
    draws : int
        Of noise, for each of them, each for an utterance of its own. Of n, no
        epsilon above log(n / 8.8) can be proven.
    seed : int
    confidence : float

    Returns
    -------
    float

    Example
    -------
    >>> from speechbrain_privacy.nnet.noise import LaplaceNoise
    >>> one = torch.tensor([1.0, 0.0])
    >>> 1.5 < proven_epsilon(LaplaceNoise(2.0), one, -one) <= 2.0
    True
    """
    if draws < 100:
        raise ValueError(f"a bound needs 100 draws or more, not {draws}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        told = [
            _told(mechanism, x, first, second, draws) for x in (first, second)
        ]
    delta = getattr(mechanism, "delta", 0.0)
    half = draws // 2

    def bound(choice, part):
        attack, threshold = choice
        said = [int((x[attack, part] >= threshold).sum()) for x in told]
        n = len(told[0][attack, part])
        return epsilon_lower_bound(said[0], n, said[1], n, delta, confidence)

    shares = np.linspace(0, 1, THRESHOLDS + 2)[1:-1]
    tried = [
        (attack, threshold)
        for attack in range(len(told[0]))
        for threshold in np.unique(
            np.quantile(
                np.concatenate([x[attack, :half] for x in told]), shares
            )
        )
    ]
    best = max(tried, key=lambda choice: bound(choice, slice(half)))
    return bound(best, slice(half, None))


def _told(mechanism, x, first, second, draws):
    """What each attack makes of each draw, ``[attacks, draws]``."""
    found = []
    for start in range(0, draws, BLOCK):
        n = min(BLOCK, draws - start)
        seen, _ = mechanism(x.expand(n, 1, -1), torch.ones(n))
        seen = seen[:, 0]
        bare = mechanism.unscaled(seen)
        gaps = [bare - mechanism.unit(y) for y in (first, second)]
        near = [gap.norm(dim=1).clamp(min=TINY).log() for gap in gaps]
        spread = [gap.std(1).clamp(min=TINY).log() for gap in gaps]
        found.append(
            torch.stack(
                [
                    mechanism.log_ratio(seen, first, second),
                    near[1] - near[0],
                    spread[1] - spread[0],
                ]
            )
        )
    # Laplacian ratios pile up at plus and minus epsilon, but for rounding.
    return torch.cat(found, 1).double().numpy().round(3)


def check_epsilon(mechanism, data, speakers, draws=100_000, seed=0):
    """What is promised and what is proven, for worst and for real frames.

    Arguments
    ---------
    mechanism : LaplaceNoise or GaussianNoise
    data : Representations
        Frames that it is given.
    speakers : dict
        Utterance -> speaker.
    draws, seed : int

    Returns
    -------
    dict
        ``epsilon`` and ``delta`` as promised for one frame, ``draws``,
        ``frames``: in an utterance on average, and for ``worst`` and ``real``
        pairs their ``distance`` and the epsilon ``proven``.
    """
    largest = torch.zeros(data.dim)
    largest[0] = 1.0
    first, second, distance = farthest_frames(data, speakers, mechanism, seed)
    pairs = {
        "worst": (largest, -largest, mechanism.sensitivity),
        "real": (first, second, distance),
    }
    return {
        "epsilon": mechanism.epsilon,
        "delta": getattr(mechanism, "delta", 0.0),
        "draws": draws,
        "frames": float(data.counts.mean()),
        "pairs": {
            name: {
                "distance": apart,
                "proven": proven_epsilon(mechanism, *pair, draws, seed),
            }
            for name, (*pair, apart) in pairs.items()
        },
    }
