"""Discrete units: clusters of frames, as targets of HuBERT."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import StandardScaler
from speechbrain.dataio.dataset import FilteredSortedDynamicItemDataset
from speechbrain.utils.distributed import ddp_barrier, run_on_main
from tqdm import tqdm

from speechbrain_privacy.audit.representations import Tap, tapped_frames
from speechbrain_privacy.dataio.files import replaced_file
from speechbrain_privacy.dataio.ragged import (
    read_ragged,
    read_spent,
    write_ragged,
)
from speechbrain_privacy.nnet.operations import note_flops, spending

#: Frames that clusters are learnt of, at most.
MOST = 200_000


@dataclass
class Clusters:
    """Where frames are nearest to, each channel standardised.

    ``mean`` and ``scale [dim]``, ``centres [n, dim]``.
    """

    mean: np.ndarray
    scale: np.ndarray
    centres: np.ndarray

    def __call__(self, frames):
        """``[frames, dim]`` -> units ``[frames]``, int32."""
        note_flops(2 * len(frames) * self.centres.size)
        x = (frames - self.mean) / self.scale
        return pairwise_distances_argmin(x, self.centres).astype(np.int32)

    def write(self, path, identity, spent):
        """Keeps them, with the name of what they were learnt of, and what
        that has cost."""
        spent = json.dumps(spent)
        with replaced_file(Path(path), mode="wb") as file:
            np.savez(file, identity=identity, spent=spent, **asdict(self))

    @classmethod
    def read(cls, path, identity):
        """What was kept under this name, or None."""
        if not Path(path).is_file():
            return None
        with np.load(path) as kept:
            if str(kept["identity"]) != identity:
                return None
            return cls(kept["mean"], kept["scale"], kept["centres"])


def learn_units(frames, n_units, seed=0):
    """K-means of frames.

    Arguments
    ---------
    frames : np.ndarray
        ``[frames, dim]``.
    n_units : int
    seed : int

    Returns
    -------
    Clusters

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
    # How far frames are from centres: of each step's batch, and of those
    # (three batches) among which k-means++ seeks each centre, several times.
    batch, start = (min(len(frames), n * model.batch_size) for n in (1, 3))
    tried = model.n_init * (2 + int(np.log(n_units)))
    asked = model.n_steps_ * batch + tried * start
    note_flops(2 * asked * model.cluster_centers_.size)
    return Clusters(scaler.mean_, scaler.scale_, model.cluster_centers_)


def units_of(
    datasets, n_units, frames_of, path, identity, most_frames=MOST, seed=0
):
    """Units of every utterance, whose frames are never in memory together.

    One process learns clusters, each (all must call this) finds the units of
    its share. What a call that was killed has finished is used again.

    Arguments
    ---------
    datasets : sequence of DynamicItemDataset
        Clusters are learnt on the first.
    n_units : int
    frames_of : callable
        Dataset -> ``(ID, [frames, dim])`` in turn.
    path : str or Path
        Of an ``.npz`` file, where units are kept.
    identity : str
        Names data, number, frames and seed: units of another are made anew.
    most_frames : int
        That clusters are learnt of: those of so many utterances, drawn.
    seed : int

    Returns
    -------
    dict
        ID -> units ``[frames]``, int64. ``read_spent`` of the file tells what
        those of the first dataset, and the clusters, have cost.
    """
    path = Path(path)
    if (kept := read_ragged(path, identity)) is not None:
        return kept
    clusters = path.with_suffix(".clusters.npz")

    def learn():
        if Clusters.read(clusters, identity) is None:
            with spending(spent := {}):
                frames = _sample(datasets[0], frames_of, most_frames, seed)
                learnt = learn_units(frames, n_units, seed)
            learnt.write(clusters, identity, spent)

    run_on_main(learn)
    rank, world = 0, 1
    if torch.distributed.is_initialized():
        rank = torch.distributed.get_rank()
        world = torch.distributed.get_world_size()
    parts = [path.with_suffix(f".{i}of{world}.npz") for i in range(world)]
    shares = [_subset(x, x.data_ids[rank::world]) for x in datasets]
    if any(map(len, shares)) and read_ragged(parts[rank], identity) is None:
        cluster, found = Clusters.read(clusters, identity), {}
        spent = [{} for _ in shares]
        for share, its in zip(shares, spent, strict=True):
            if len(share):
                with spending(its):
                    for key, frames in frames_of(share):
                        found[key] = cluster(frames)
        write_ragged(parts[rank], identity, found, spent[0])
    ddp_barrier()

    def merge():
        merged, spent = {}, Counter()
        for part in parts:
            merged |= read_ragged(part, identity) or {}
        for part in (*parts, clusters):
            costs = read_spent(part)
            costs.pop("id", None)
            spent.update(costs)
        ids = [key for dataset in datasets for key in dataset.data_ids]
        numbers = {key: merged[key] for key in ids}
        write_ragged(path, identity, numbers, spent)
        for part in (*parts, clusters):
            part.unlink(missing_ok=True)

    run_on_main(merge)
    return read_ragged(path, identity)


def _subset(dataset, ids):
    return FilteredSortedDynamicItemDataset(dataset, ids)


def _sample(dataset, frames_of, most_frames, seed):
    """Frames of utterances that are drawn, until there are enough."""
    drawn = np.random.default_rng(seed).permutation(len(dataset))
    order = _subset(dataset, [dataset.data_ids[i] for i in drawn])
    some, n = [], 0
    for _, frames in frames_of(order):
        some.append(frames)
        n += len(frames)
        if n >= most_frames:
            break
    return np.concatenate(some)[:most_frames]


def cepstral_frames(dataset, cepstra, stride=None, encoder=None):
    """Frames of an encoder's rate, before there is an encoder.

    Arguments
    ---------
    dataset : DynamicItemDataset
        With ``id`` and ``sig``.
    cepstra : callable
        Waveforms -> ``[batch, frames, dim]``, 100 a second
        (``masking.cepstra.CepstralFrames``).
    stride : int
        Of these, for one of the encoder, which begins where they do.
    encoder : PretrainedEncoder, optional
        Instead of ``stride``: one of waveforms, with as many frames as it
        gives, each of the cepstra around its middle.

    Yields
    ------
    tuple
        ID and ``[frames, 3 * dim]``: the mean of each ``stride`` cepstra and
        how they change from one to the next (first and second differences).
    """
    for item in tqdm(dataset, desc="cepstra", dynamic_ncols=True, leave=False):
        x = cepstra(item["sig"].unsqueeze(0))[0].numpy()
        if encoder is not None:
            stride, first = encoder.tenths
            n_frames = int(encoder.frames(torch.tensor(len(item["sig"]))))
            x = x[min(first, len(x) - 1) :][: stride * n_frames]
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
