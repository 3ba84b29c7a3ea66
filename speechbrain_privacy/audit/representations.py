"""Representations of utterances, tapped from a frozen model."""

from dataclasses import dataclass

import numpy as np
import speechbrain as sb
import torch
from tqdm import tqdm

from speechbrain_privacy.nnet.pooling import frame_counts


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

    def subset(self, places):
        """The utterances at ``places``, as a new object."""
        return Representations.of(
            {
                self.ids[i]: self.frames[self.offsets[i] : self.offsets[i + 1]]
                for i in places
            }
        )

    @classmethod
    def of(cls, utterances):
        """Makes one from ``{id: array [frames, dim]}``."""
        if not utterances:
            raise ValueError("no utterances to represent")
        arrays = [np.asarray(a, np.float32) for a in utterances.values()]
        offsets = np.concatenate([[0], np.cumsum([len(a) for a in arrays])])
        return cls(tuple(utterances), np.concatenate(arrays), offsets)


class Tap:
    """Where a model is tapped.

    Arguments
    ---------
    module : str
        Dotted path below ``brain.modules``; its output, ``[batch, time,
        dim]`` (or the first of a tuple), is recorded.
    softmax : bool
        Turn logits into posteriors.

    Example
    -------
    >>> Tap("head", softmax=True).module
    'head'
    """

    def __init__(self, module, softmax=False):
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


def extract(brain, taps, dataset, batch_size=16, progressbar=True):
    """Runs the frozen model over a data set and records every tap.

    Arguments
    ---------
    brain : CTCBrain
        Its ``compute_forward`` runs in evaluation mode, without gradients;
        the ``lengths`` of its result are those of ``log_probs``.
    taps : dict
        Name -> ``Tap``.
    dataset : DynamicItemDataset
        With ``id`` and ``sig``.
    batch_size : int
    progressbar : bool

    Returns
    -------
    dict
        Name -> ``Representations``.
    """
    recorded = {name: {} for name in taps}
    latest = {}

    def record(name, tap):
        def hook(module, inputs, output):
            latest[name] = tap.read(output)

        return hook

    handles = []
    for name, tap in taps.items():
        try:
            module = brain.modules.get_submodule(tap.module)
        except AttributeError:
            known = [n for n, _ in brain.modules.named_children()]
            raise ValueError(
                f"tap '{name}': the model has no module '{tap.module}'; "
                f"its parts are {', '.join(known)}"
            ) from None
        handles.append(module.register_forward_hook(record(name, tap)))
    brain.modules.eval()
    loader = brain.make_dataloader(
        dataset, sb.Stage.TEST, ckpt_prefix=None, batch_size=batch_size
    )
    try:
        with torch.no_grad(), brain.evaluation_ctx:
            for batch in tqdm(
                loader,
                desc="tapping",
                dynamic_ncols=True,
                disable=not progressbar,
            ):
                out = brain.compute_forward(batch, sb.Stage.TEST)
                # At the encoder's rate its own lengths count, else the input's.
                hidden_frames = out.log_probs.shape[1]
                for name, x in latest.items():
                    at_hidden_rate = x.shape[1] == hidden_frames
                    lengths = (
                        out.lengths if at_hidden_rate else batch.sig.lengths
                    )
                    counts = frame_counts(lengths.to(x.device), x.shape[1])
                    for i, key in enumerate(batch.id):
                        recorded[name][key] = x[i, : counts[i]].cpu().numpy()
    finally:
        for handle in handles:
            handle.remove()
    return {name: Representations.of(some) for name, some in recorded.items()}
