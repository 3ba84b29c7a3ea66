"""Discrete units: clusters of frames, as targets of HuBERT."""

import hashlib

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from speechbrain_privacy.audit.representations import (
    Representations,
    Tap,
    extract,
)


def learn_units(train, n_units, most_frames=200_000, seed=0):
    """K-means of frames, each channel standardised.

    Arguments
    ---------
    train : Representations
    n_units : int
    most_frames : int
        Of more, as many are drawn.
    seed : int

    Returns
    -------
    callable
        Representations -> ``{ID: units [frames]}``, int64.

    Example
    -------
    >>> frames = Representations.of({"a": np.repeat(np.eye(2), 3, 0)})
    >>> len(set(learn_units(frames, 2)(frames)["a"].tolist()))
    2
    """
    if n_units < 2:
        raise ValueError(f"two units or more, not {n_units}")
    frames = np.asarray(train.frames)
    if len(frames) < n_units:
        raise ValueError(f"{len(frames)} frames cannot be {n_units} units")
    draw = np.random.default_rng(seed)
    if len(frames) > most_frames:
        kept = draw.permutation(len(frames))[:most_frames]
        frames = frames[np.sort(kept)]
    scaler = StandardScaler().fit(frames)
    model = MiniBatchKMeans(
        n_units,
        random_state=seed,
        batch_size=8192,
        n_init=3,
        reassignment_ratio=0.0,
    ).fit(scaler.transform(frames))

    def units_of(data):
        found = model.predict(scaler.transform(np.asarray(data.frames)))
        parts = np.split(found.astype(np.int64), data.offsets[1:-1])
        return dict(zip(data.ids, parts, strict=True))

    return units_of


def cepstral_representations(dataset, cepstra, stride):
    """Frames of an encoder's rate, before there is an encoder.

    Arguments
    ---------
    dataset : DynamicItemDataset
        With ``id`` and ``sig``.
    cepstra : callable
        Waveforms -> ``[batch, frames, dim]``, 100 a second
        (``masking.cepstra.CepstralFrames``).
    stride : int
        Of these, for one of the encoder.

    Returns
    -------
    Representations
        The mean of each ``stride`` cepstra and how they change from one to
        the next (first and second differences).
    """
    found = {}
    for item in tqdm(dataset, desc="cepstra", dynamic_ncols=True, leave=False):
        x = cepstra(item["sig"].unsqueeze(0))[0].numpy()
        edges = np.arange(0, len(x), stride)
        means = np.add.reduceat(x, edges) / np.diff([*edges, len(x)])[:, None]
        change = _slope(means)
        found[item["id"]] = np.concatenate([means, change, _slope(change)], 1)
    return Representations.of(found)


def teacher_frames(brain, module):
    """A trained model as a source of frames.

    Arguments
    ---------
    brain : AdversarialBrain
        Trained; not changed.
    module : str
        Which of its layers, as in ``Tap``.

    Returns
    -------
    tuple
        A fingerprint of the weights, and dataset -> ``Representations``.
    """
    digest = hashlib.sha256(module.encode())
    for name, tensor in sorted(brain.modules.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())

    def frames_of(dataset):
        taps = {"teacher": Tap(module)}
        progressbar = not brain.noprogressbar
        # One by one: in a padded batch an utterance can lose a frame, since
        # relative lengths round.
        found = extract(brain, taps, dataset, 1, progressbar)
        return found["teacher"]

    return digest.hexdigest()[:16], frames_of


def _slope(x):
    """Half the difference of the frames after and before."""
    padded = np.pad(x, ((1, 1), (0, 0)), mode="edge")
    return (padded[2:] - padded[:-2]) / 2
