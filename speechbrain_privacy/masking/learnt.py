"""Frames whose neighbours are told from other frames: boundaries by learning.

Source: Kreuk, Keshet and Adi, "Self-supervised contrastive learning for
unsupervised phoneme segmentation", Interspeech 2020. Deviation: the network
hears cepstra instead of samples, which is quicker by far.
"""

import re
from pathlib import Path

import torch

from speechbrain_privacy.nnet.layers import normalised
from speechbrain_privacy.nnet.pooling import frame_counts, frames_mask
from speechbrain_privacy.nnet.weights import (
    ENCODER,
    last_parts,
    load_weights,
    read_weights,
)

#: Added to variances of cepstra.
EPS = 1e-3


class FrameEncoder(torch.nn.Module):
    """Cepstra -> vectors that are alike within a phone.

    Arguments
    ---------
    input_size : int
        Cepstra of a frame.
    channels, num_layers, kernel_size : int
        Of the convolutions over time; with a kernel of 1 each frame is heard
        alone, so that neighbours are alike for no other reason than that
        they sound alike.
    output_size : int
        Of the vectors.

    Example
    -------
    >>> encoder = FrameEncoder()
    >>> vectors, lengths = encoder(torch.rand(2, 50, 13), torch.ones(2))
    >>> vectors.shape
    torch.Size([2, 50, 32])
    """

    def __init__(
        self,
        input_size=13,
        channels=64,
        num_layers=2,
        kernel_size=1,
        output_size=32,
    ):
        super().__init__()
        if kernel_size % 2 != 1 or num_layers < 1:
            raise ValueError(
                "kernel_size is odd and num_layers 1 or more, not "
                f"{kernel_size} and {num_layers}"
            )
        self.input_size = input_size
        sizes = [input_size, *[channels] * num_layers]
        self.convs = torch.nn.ModuleList(
            torch.nn.Conv1d(a, b, kernel_size, padding=kernel_size // 2)
            for a, b in zip(sizes, sizes[1:])
        )
        self.project = torch.nn.Linear(sizes[-1], output_size)

    @classmethod
    def from_file(cls, path):
        """One that was trained; its weights tell its sizes.

        Arguments
        ---------
        path : str or Path
            Of a run of the recipe ``boundaries``, or of ``encoder.ckpt`` in
            one of its checkpoints.

        Returns
        -------
        FrameEncoder
        """
        if Path(path).is_dir():
            path = last_parts(path)[ENCODER]
        found = read_weights(path)
        convs = [
            x.shape
            for name, x in found.items()
            if re.fullmatch(r"convs\.\d+\.weight", name) and x.dim() == 3
        ]
        if not convs or "project.weight" not in found:
            raise ValueError(f"{path} holds no boundary detector")
        encoder = cls(
            input_size=convs[0][1],
            channels=convs[0][0],
            num_layers=len(convs),
            kernel_size=convs[0][2],
            output_size=len(found["project.weight"]),
        )
        load_weights(encoder, path)
        return encoder

    def forward(self, x, lengths):
        """Encodes a batch, each row as if it were alone.

        Arguments
        ---------
        x : torch.Tensor
            ``[batch, frames, input_size]``.
        lengths : torch.Tensor
            Relative, ``[batch]``.

        Returns
        -------
        vectors : torch.Tensor
            ``[batch, frames, output_size]``, of length one.
        lengths : torch.Tensor
            As given.
        """
        counts = frame_counts(lengths, x.shape[1])
        padding = ~frames_mask(counts, x.shape[1]).unsqueeze(1)
        x = normalised(x.transpose(1, 2), counts, EPS)
        for conv in self.convs:
            x = torch.relu(conv(x.masked_fill(padding, 0.0)))
        vectors = self.project(x.transpose(1, 2))
        return torch.nn.functional.normalize(vectors, dim=2), lengths
