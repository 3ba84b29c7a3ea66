"""The encoder of a finished run, in somebody else's model."""

import re
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml

from speechbrain_privacy.lobes.frontends import extract
from speechbrain_privacy.nnet.weights import (
    ENCODER,
    last_parts,
    load_weights,
    read_weights,
)

#: Of a run: its values, and what may be in its checkpoints.
VALUES, BOTTLENECK = "hyperparams.yaml", "bottleneck"


class TrainedEncoder(torch.nn.Module):
    """Waveforms -> hidden frames, as a run's encoder gives them.

    The run may have been pre-trained or learnt to recognise speech. Of its
    values only the block ``model`` is read, of its last checkpoint only the
    encoder; its data need not be there. What its model has behind the encoder
    is left out: a bottleneck is refused, since frames in front of it are not
    what the run protects.

    Arguments
    ---------
    source : str or Path
        The run's output folder.
    freeze : bool
        Keeps it as it is: no gradients, no dropout.

    Raises
    ------
    FileNotFoundError
        If the folder holds no run, or no checkpoint.
    ValueError
        If a bottleneck follows the encoder.

    Example
    -------
    >>> TrainedEncoder("results/nowhere")
    Traceback (most recent call last):
        ...
    FileNotFoundError: results/nowhere holds no hyperparams.yaml: no run
    """

    def __init__(self, source, freeze=True):
        super().__init__()
        model = _model(Path(source))
        self.sample_rate = model["sample_rate"]
        self.features = model["features"]
        self.normalize = model["normalize"]
        self.encoder = model["lobe"]
        self.output_size = model["d_model"]
        load_encoder(self.encoder, _last_encoder(Path(source)))
        self.freeze = freeze
        if freeze:
            self.requires_grad_(False)
            self.eval()

    @classmethod
    def from_pretrained(cls, source, **settings):
        """The same, by the name that is usual elsewhere."""
        return cls(source, **settings)

    @property
    def grid(self):
        """Seconds between frames, and of the middle of the first."""
        return self.encoder.grid

    def forward(self, wavs, lengths=None):
        """Encodes a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``.
        lengths : torch.Tensor, optional
            Relative lengths, ``[batch]``; without, all are whole.

        Returns
        -------
        hidden : torch.Tensor
            ``[batch, frames, output_size]``.
        lengths : torch.Tensor
            Relative lengths of ``hidden``, ``[batch]``.
        """
        if lengths is None:
            lengths = torch.ones(len(wavs), device=wavs.device)
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and not self.freeze
        ):
            feats, lengths = extract(self.features, wavs, lengths)
            return self.encoder(self.normalize(feats, lengths), lengths)

    def train(self, mode=True):
        """As always, but what is frozen draws no dropout."""
        return super().train(mode and not self.freeze)


def load_encoder(encoder, path):
    """A checkpoint's weights, in the way that this encoder takes them.

    Arguments
    ---------
    encoder : torch.nn.Module
    path : str or Path
    """
    own = getattr(encoder, "load", None)  # of what it has learnt alone
    if own and read_weights(path).keys() != encoder.state_dict().keys():
        own(path)
    else:
        load_weights(encoder, path)


def _model(folder):
    """The block ``model`` of a run, built."""
    path = folder / VALUES
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {VALUES}: no run")
    block = re.search(
        r"(?m)^model:\n(?:[ #].*\n|\n)+", path.read_text(encoding="utf-8")
    )
    if block is None:
        raise ValueError(f"{path} has no block 'model'")
    return load_hyperpyyaml(without_weights(block.group()))["model"]


def without_weights(values):
    """A run's YAML without the file that its encoder began with.

    The run's own checkpoint holds what has become of it.

    Arguments
    ---------
    values : str

    Returns
    -------
    str
    """
    # A long path stands on a line of its own.
    return re.sub(
        r"(?m)^( +weights:)[^\S\n]*(?:\n +)?[^\n:]*\.ckpt.*$", r"\1", values
    )


def _last_encoder(folder):
    parts = last_parts(folder)
    if BOTTLENECK in parts:
        raise ValueError(
            f"{folder}: a bottleneck follows the encoder, whose own frames "
            "are not what the run protects"
        )
    return parts[ENCODER]
