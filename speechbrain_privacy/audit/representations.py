"""Representations of utterances, tapped from a frozen model."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
import torchaudio
from speechbrain.dataio.batch import PaddedData
from tqdm import tqdm

from speechbrain_privacy.dataio.files import replaced_file
from speechbrain_privacy.nnet.pooling import frame_counts
from speechbrain_privacy.nnet.tapped import module_at


@dataclass(frozen=True)
class Representations:
    """Frames of many utterances in one array.

    ``frames [total, dim]`` float32; utterance i owns rows
    ``offsets[i]:offsets[i + 1]``; ``ids[i]`` names it.
    """

    ids: tuple
    frames: np.ndarray
    offsets: np.ndarray

    def __len__(self):
        return len(self.ids)

    @property
    def dim(self):
        """Channels of a frame."""
        return self.frames.shape[1]

    @property
    def counts(self):
        """Frames of each utterance."""
        return np.diff(self.offsets)

    def utterances(self):
        """The frames of each utterance in turn."""
        for start, end in zip(self.offsets[:-1], self.offsets[1:]):
            yield self.frames[start:end]

    def subset(self, places):
        """The utterances at ``places``, as a new object."""
        if len(places) == 0:
            raise ValueError("no utterances to represent")
        parts = [
            self.frames[self.offsets[i] : self.offsets[i + 1]] for i in places
        ]
        return Representations(
            tuple(self.ids[i] for i in places),
            np.concatenate(parts),
            np.concatenate([[0], np.cumsum([len(part) for part in parts])]),
        )

    @classmethod
    def of(cls, utterances):
        """Makes one from ``{id: array [frames, dim]}``."""
        if not utterances:
            raise ValueError("no utterances to represent")
        arrays = [np.asarray(a, np.float32) for a in utterances.values()]
        offsets = np.concatenate([[0], np.cumsum([len(a) for a in arrays])])
        return cls(tuple(utterances), np.concatenate(arrays), offsets)

    @classmethod
    def concatenated(cls, parts):
        """Joins several; an ID may occur in more than one."""
        sizes = np.concatenate([part.counts for part in parts])
        return cls(
            tuple(key for part in parts for key in part.ids),
            np.concatenate([part.frames for part in parts]),
            np.concatenate([[0], np.cumsum(sizes)]),
        )


class _Recorder:
    """Takes the frames of utterances as they come, to memory or to disk."""

    def __init__(self, name, path=None):
        self.name = name
        self.path = path
        self.ids, self.counts, self.arrays = [], [], []
        self.dim = None
        # Under another name until all is there: what is mapped stays whole.
        self.file = None if path is None else open(_partial(path), "wb")

    def add(self, key, frames):
        self.ids.append(key)
        self.counts.append(len(frames))
        self.dim = frames.shape[1]
        if self.file is None:
            self.arrays.append(frames)
        else:
            frames.astype(np.float32).tofile(self.file)

    def close(self):
        if self.file is not None:
            self.file.close()

    def finish(self, identity):
        """The representations; on disk, their index makes them valid."""
        if not self.ids:
            raise ValueError(
                f"tap '{self.name}' recorded nothing: its module did not run"
            )
        if self.file is None:
            return Representations.of(dict(zip(self.ids, self.arrays)))
        index = {
            "identity": identity,
            "ids": self.ids,
            "counts": self.counts,
            "dim": self.dim,
        }
        self.path.unlink(missing_ok=True)
        _partial(self.path).replace(_frames(self.path))
        with replaced_file(self.path) as file:
            json.dump(index, file)
        return _load(self.path, identity)


def _frames(path):
    return path.with_suffix(".f32")


def _partial(path):
    return path.with_suffix(".partial")


def _load(path, identity):
    """Cached representations, or None if they are of something else."""
    if not path.is_file():
        return None
    index = json.loads(path.read_text())
    if index["identity"] != identity:
        return None
    total = sum(index["counts"])
    return Representations(
        tuple(index["ids"]),
        np.memmap(
            _frames(path), np.float32, mode="c", shape=(total, index["dim"])
        ),
        np.concatenate([[0], np.cumsum(index["counts"])]),
    )


class Tap:
    """Where a model is tapped.

    Arguments
    ---------
    module : str, optional
        Dotted path below ``brain.modules``; its output, ``[batch, time,
        dim]`` (or the first of a tuple), is recorded. Without one it is the
        waveform, ``[batch, samples, 1]``.
    softmax : bool
        Turn logits into posteriors.

    Example
    -------
    >>> Tap("head", softmax=True).module
    'head'
    """

    def __init__(self, module=None, softmax=False):
        self.module = module
        self.softmax = softmax

    def read(self, output):
        """What the tap records of a module's output."""
        x = output[0] if isinstance(output, tuple) else output
        if x.dim() != 3:
            raise ValueError(
                f"tap '{self.module}' gives a tensor with {x.dim()} axes; "
                "an audit needs [batch, time, dim]"
            )
        x = x.float()
        return x.softmax(2) if self.softmax else x


def tapped_frames(
    brain, taps, dataset, batch_size=16, bar="tapping", speed=1.0, heard=None
):
    """Runs the frozen model over a data set, utterance by utterance.

    Arguments
    ---------
    brain : AdversarialBrain
        Its ``represent`` runs in evaluation mode, without gradients.
    taps : dict
        Name -> ``Tap``.
    dataset : DynamicItemDataset
        With ``id`` and ``sig``.
    batch_size : int
    bar : str or None
        What the progress bar says; None for no bar.
    speed : float
        Plays the audio this much faster, pitch and all.
    heard : callable, optional
        Makes of waveforms ``[batch, samples]`` and relative lengths the
        waveforms that the model hears instead, as long as they were.

    Yields
    ------
    tuple
        ID, name of a tap, ``[frames, dim]``: nothing is kept.
    """
    latest, known = {}, {}

    def record(name, tap):
        def hook(module, inputs, output):
            latest[name] = tap.read(output)

        return hook

    inside = {name: tap for name, tap in taps.items() if tap.module}
    modules = {
        name: tapped_module(brain, name, tap) for name, tap in inside.items()
    }
    handles = [
        modules[name].register_forward_hook(record(name, tap))
        for name, tap in inside.items()
    ]
    if "normalize" in brain.modules:
        # How long features are is told there.
        def note(module, inputs):
            known[inputs[0].shape[1]] = inputs[1]

        normalize = brain.modules["normalize"]
        handles.append(normalize.register_forward_pre_hook(note))
    brain.modules.eval()
    loader = brain.make_dataloader(
        dataset, sb.Stage.TEST, ckpt_prefix=None, batch_size=batch_size
    )
    try:
        for batch in tqdm(
            loader,
            desc=bar,
            dynamic_ncols=True,
            disable=bar is None,
        ):
            if speed != 1.0:
                batch.sig = _faster(batch.sig, speed)
            if heard is not None:
                wavs = heard(batch.sig.data, batch.sig.lengths)
                batch.sig = PaddedData(wavs, batch.sig.lengths)
            latest.clear()
            known.clear()
            for name in taps.keys() - inside.keys():
                latest[name] = batch.sig.data.unsqueeze(2)
            with torch.no_grad(), brain.evaluation_ctx:
                hidden_frames, lengths_there = brain.represent(batch)
            # At the rates of features and encoder their own lengths count,
            # else the input's.
            known[hidden_frames] = lengths_there
            for name, x in latest.items():
                lengths = known.get(x.shape[1], batch.sig.lengths)
                counts = frame_counts(lengths.to(x.device), x.shape[1])
                for i, key in enumerate(batch.id):
                    yield key, name, x[i, : counts[i]].cpu().numpy()
    finally:
        for handle in handles:
            handle.remove()


def extract(
    brain,
    taps,
    dataset,
    batch_size=16,
    progressbar=True,
    speed=1.0,
    folder=None,
    identity=None,
    heard=None,
):
    """Records every tap over a data set.

    Arguments
    ---------
    brain, taps, dataset, batch_size, speed
        As for ``tapped_frames``.
    progressbar : bool
    folder : str or Path, optional
        Where frames are kept, as memory maps: only what is read is in
        memory. What a finished call with the same ``identity`` left there is
        used again.
    identity : str, optional
        Names the model and the data, for ``folder``.
    heard : callable, optional
        As for ``tapped_frames``.

    Returns
    -------
    dict
        Name -> ``Representations``.
    """
    paths = dict.fromkeys(taps)
    if folder is not None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name}.json" for name in taps}
        kept = {name: _load(path, identity) for name, path in paths.items()}
        if identity is not None and None not in kept.values():
            return kept
    bar = "tapping" if speed == 1.0 else f"tapping, x{speed:g}"
    bar = bar if progressbar else None
    recorders = {n: _Recorder(n, path) for n, path in paths.items()}
    try:
        for key, name, frames in tapped_frames(
            brain, taps, dataset, batch_size, bar, speed, heard
        ):
            recorders[name].add(key, frames)
    finally:
        for recorder in recorders.values():
            recorder.close()
    return {name: some.finish(identity) for name, some in recorders.items()}


def tapped_module(brain, name, tap):
    """The module of a Brain at a tap, or one sentence what there is instead.

    Arguments
    ---------
    brain : sb.Brain
    name : str
        Of the tap.
    tap : Tap

    Returns
    -------
    torch.nn.Module
    """
    try:
        return module_at(brain.modules, tap.module)
    except ValueError as fault:
        raise ValueError(f"tap '{name}': {fault}") from None


def _faster(sig, speed):
    """A padded batch, resampled; relative lengths stay."""
    percent = round(100 * speed)
    return PaddedData(
        torchaudio.functional.resample(sig.data, percent, 100), sig.lengths
    )
