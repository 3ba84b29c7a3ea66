"""Discrete units: clusters of frames, as targets of HuBERT."""

import hashlib

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.preprocessing import StandardScaler
from speechbrain.dataio.dataset import FilteredSortedDynamicItemDataset
from tqdm import tqdm

from speechbrain_privacy.audit.representations import Tap, tapped_frames

#: Frames that clusters are learnt of, at most.
MOST = 200_000


def learn_units(frames, n_units, seed=0):
    """K-means of frames, each channel standardised.

    Arguments
    ---------
    frames : np.ndarray
        ``[frames, dim]``.
    n_units : int
    seed : int

    Returns
    -------
    callable
        ``[frames, dim]`` -> units ``[frames]``, int64.

    Example
    -------
    >>> frames = np.repeat(np.eye(2), 3, 0)
    >>> len(set(learn_units(frames, 2)(frames).tolist()))
    2
    """
    if n_units < 2:
        raise ValueError(f"two units or more, not {n_units}")
    if len(frames) < n_units:
        raise ValueError(f"{len(frames)} frames cannot be {n_units} units")
    scaler = StandardScaler().fit(frames)
    model = MiniBatchKMeans(
        n_units,
        random_state=seed,
        batch_size=8192,
        n_init=3,
        reassignment_ratio=0.0,
    ).fit(scaler.transform(frames))
    return lambda x: model.predict(scaler.transform(x)).astype(np.int64)


def units_of(datasets, n_units, frames_of, most_frames=MOST, seed=0):
    """Units of every utterance, whose frames are never in memory together.

    Arguments
    ---------
    datasets : sequence of DynamicItemDataset
        Clusters are learnt on the first.
    n_units : int
    frames_of : callable
        Dataset -> ``(ID, [frames, dim])`` in turn.
    most_frames : int
        That clusters are learnt of: those of so many utterances, drawn.
    seed : int

    Returns
    -------
    dict
        ID -> units ``[frames]``, int32.
    """
    train = datasets[0]
    drawn = np.random.default_rng(seed).permutation(len(train))
    some, n = [], 0
    for _, frames in frames_of(
        FilteredSortedDynamicItemDataset(
            train, [train.data_ids[i] for i in drawn]
        )
    ):
        some.append(frames)
        n += len(frames)
        if n >= most_frames:
            break
    cluster = learn_units(np.concatenate(some)[:most_frames], n_units, seed)
    return {
        key: cluster(frames).astype(np.int32)
        for dataset in datasets
        for key, frames in frames_of(dataset)
    }


def cepstral_frames(dataset, cepstra, stride):
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

    Yields
    ------
    tuple
        ID and ``[frames, 3 * dim]``: the mean of each ``stride`` cepstra and
        how they change from one to the next (first and second differences).
    """
    for item in tqdm(dataset, desc="cepstra", dynamic_ncols=True, leave=False):
        x = cepstra(item["sig"].unsqueeze(0))[0].numpy()
        edges = np.arange(0, len(x), stride)
        means = np.add.reduceat(x, edges) / np.diff([*edges, len(x)])[:, None]
        change = _slope(means)
        yield item["id"], np.concatenate([means, change, _slope(change)], 1)


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
        A fingerprint of the weights, and dataset -> ``(ID, [frames, dim])``
        in turn.
    """
    digest = hashlib.sha256(module.encode())
    for name, tensor in sorted(brain.modules.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())

    def frames_of(dataset):
        bar = None if brain.noprogressbar else "teacher"
        # One by one: in a padded batch an utterance can lose a frame, since
        # relative lengths round.
        for key, _, frames in tapped_frames(
            brain, {"teacher": Tap(module)}, dataset, 1, bar
        ):
            yield key, frames

    return digest.hexdigest()[:16], frames_of


def _slope(x):
    """Half the difference of the frames after and before."""
    padded = np.pad(x, ((1, 1), (0, 0)), mode="edge")
    return (padded[2:] - padded[:-2]) / 2
