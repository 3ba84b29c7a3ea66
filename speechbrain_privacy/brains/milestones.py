"""Encoders kept on the way, with what they had cost until then."""

from pathlib import Path

import torch

from speechbrain_privacy.brains.carried import KINDS
from speechbrain_privacy.dataio.files import replaced_file


class Milestones:
    """Keeps an encoder's weights at chosen epochs, for curves over cost.

    Unlike checkpoints they are small, all stay, and nothing resumes from
    them.

    Arguments
    ---------
    folder : str or Path
    epochs : list of int

    Example
    -------
    >>> import tempfile
    >>> layer = torch.nn.Linear(2, 2)
    >>> kept = Milestones(tempfile.mkdtemp(), [1, 3])
    >>> for epoch in (1, 2, 3):
    ...     kept.keep(epoch, layer, {"flops": 10.0 * epoch})
    >>> list(kept.revisit(layer))
    [{'epoch': 1, 'flops': 10.0}, {'epoch': 3, 'flops': 30.0}]
    """

    def __init__(self, folder, epochs):
        self.folder = Path(folder)
        if not isinstance(epochs, list | tuple) or any(
            type(epoch) is not int or epoch < 1 for epoch in epochs
        ):
            raise ValueError(
                f"milestones are epochs, [1, 2, ...], not {epochs}"
            )
        self.epochs = sorted(epochs)

    def _path(self, epoch):
        return self.folder / f"epoch-{epoch:04d}.ckpt"

    def keep(self, epoch, encoder, cost):
        """Writes the encoder if ``epoch`` is one of those to be kept.

        Arguments
        ---------
        epoch : int
        encoder : torch.nn.Module
        cost : dict
            Name -> number, until now.
        """
        if epoch in self.epochs:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept = {"epoch": epoch, "cost": cost, "state": encoder.state_dict()}
            with replaced_file(self._path(epoch), mode="wb") as file:
                torch.save(kept, file)

    def revisit(self, encoder):
        """Puts each kept state into the encoder in turn, its own at the end.

        Arguments
        ---------
        encoder : torch.nn.Module
            Of the architecture that was kept.

        Yields
        ------
        dict
            ``epoch`` and the costs until then.
        """
        own = {n: x.clone() for n, x in encoder.state_dict().items()}
        try:
            for path in map(self._path, self.epochs):
                if path.is_file():
                    device = next(encoder.parameters()).device
                    kept = torch.load(
                        path, map_location=device, weights_only=True
                    )
                    encoder.load_state_dict(kept["state"])
                    yield {"epoch": kept["epoch"], **kept["cost"]}
        finally:
            encoder.load_state_dict(own)


def error_over_cost(brain, probe, last, spent=None):
    """What a probe says of the encoders that were kept, and of the last.

    Arguments
    ---------
    brain : PretrainingBrain
        Trained.
    probe : callable
        None -> ``error`` (with a ``value``) and ``by_speaker``, of the
        encoder as it is.
    last : dict
        The same, of the finished encoder.
    spent : dict, optional
        What training has cost in all: of ``efficiency.json``, since sums over
        processes cannot be asked for when the others have left.

    Returns
    -------
    list of dict
        ``epoch``, costs until then, ``error`` and ``by_speaker``.
    """

    def point(found):
        error, by_speaker = found["error"]["value"], found["by_speaker"]
        return {"error": error, "by_speaker": by_speaker}

    points = []
    if brain.milestones is not None:
        encoder = brain.unwrapped("objective").network.encoder
        for kept in brain.milestones.revisit(encoder):
            points.append({**kept, **point(probe())})
    epoch = brain.epoch_counter.current
    known = {kept["epoch"] for kept in points}
    if spent and epoch > 0 and epoch not in known:
        cost = {name: spent[name] for name in KINDS if name in spent}
        points.append({"epoch": epoch, **cost, **point(last)})
    return points
