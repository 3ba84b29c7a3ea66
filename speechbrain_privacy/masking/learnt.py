"""Frames whose neighbours are told from other frames: boundaries by learning.

Source: Kreuk, Keshet and Adi, "Self-supervised contrastive learning for
unsupervised phoneme segmentation", Interspeech 2020. Deviation: the network
hears cepstra instead of samples, which is quicker by far.
"""

import torch

from speechbrain_privacy.masking.cepstra import (
    CepstralFrames,
    levelled,
    without_padding,
)
from speechbrain_privacy.nnet.layers import normalised
from speechbrain_privacy.nnet.pooling import frame_counts, frames_mask
from speechbrain_privacy.nnet.weights import load_weights, read_weights

#: Added to variances of cepstra.
EPS = 1e-3


class LevelledCepstra(torch.nn.Module):
    """Waveforms, at any level -> cepstra, 100 a second.

    Arguments
    ---------
    sample_rate : int
        In Hz.

    Example
    -------
    >>> LevelledCepstra()(torch.rand(2, 16000), torch.ones(2)).shape
    torch.Size([2, 101, 13])
    """

    def __init__(self, sample_rate=16000):
        super().__init__()
        self.frames = CepstralFrames(sample_rate)

    def forward(self, wavs, lengths=None):
        """``wavs [batch, samples]`` -> ``[batch, frames, 13]``."""
        wavs, samples, _ = without_padding(
            wavs.float(), lengths, self.frames.hop
        )
        with torch.autocast(wavs.device.type, enabled=False):
            return self.frames(levelled(wavs, samples))


class FrameEncoder(torch.nn.Module):
    """Cepstra -> vectors that are alike within a phone.

    Arguments
    ---------
    input_size : int
        Cepstra of a frame.
    channels, num_layers, kernel_size : int
        Of the convolutions over time.
    output_size : int
        Of the vectors.
    ahead : int
        A boundary lies between frames that are so far apart.

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
        kernel_size=3,
        output_size=32,
        ahead=1,
    ):
        super().__init__()
        if kernel_size % 2 != 1:
            raise ValueError(f"kernel_size is odd, not {kernel_size}")
        if ahead < 1:
            raise ValueError(f"ahead is 1 frame or more, not {ahead}")
        sizes = [input_size, *[channels] * num_layers]
        self.convs = torch.nn.ModuleList(
            torch.nn.Conv1d(a, b, kernel_size, padding=kernel_size // 2)
            for a, b in zip(sizes, sizes[1:])
        )
        self.project = torch.nn.Linear(sizes[-1], output_size)
        self.register_buffer("ahead", torch.tensor(ahead))

    @classmethod
    def from_file(cls, path):
        """One that was trained; its weights tell its sizes.

        Arguments
        ---------
        path : str or Path
            Of ``encoder.ckpt`` in a checkpoint of the recipe ``boundaries``.

        Returns
        -------
        FrameEncoder
        """
        found = read_weights(path)
        convs = [
            x.shape
            for name, x in found.items()
            if name.startswith("convs.") and name.endswith(".weight")
        ]
        if not convs or not {"project.weight", "ahead"} <= found.keys():
            raise ValueError(f"{path} holds no boundary detector")
        encoder = cls(
            input_size=convs[0][1],
            channels=convs[0][0],
            num_layers=len(convs),
            kernel_size=convs[0][2],
            output_size=len(found["project.weight"]),
            ahead=int(found["ahead"]),
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
            ``[batch, frames, output_size]``.
        lengths : torch.Tensor
            As given.
        """
        counts = frame_counts(lengths, x.shape[1])
        padding = ~frames_mask(counts, x.shape[1]).unsqueeze(1)
        x = normalised(x.transpose(1, 2), counts, EPS)
        for conv in self.convs:
            x = torch.relu(conv(x.masked_fill(padding, 0.0)))
        return self.project(x.transpose(1, 2)), lengths


def dissimilarity(vectors, counts, ahead=1):
    """One minus the cosine of the frames on both sides of each.

    Arguments
    ---------
    vectors : torch.Tensor
        ``[batch, frames, dim]``.
    counts : torch.Tensor
        Valid frames, ``[batch]``.
    ahead : int
        From the frame before to the frame after: with 1, entry t compares
        frames t - 1 and t, with 3 frames t - 2 and t + 1.

    Returns
    -------
    torch.Tensor
        ``[batch, frames]``, 0 where one of them is not there.

    Example
    -------
    >>> x = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
    >>> dissimilarity(x, torch.tensor([4]))[0].tolist()
    [0.0, 0.0, 1.0, 0.0]
    """
    unit = torch.nn.functional.normalize(vectors, dim=2)
    apart = 1.0 - (unit[:, ahead:] * unit[:, :-ahead]).sum(2)
    apart = apart.clamp(min=0.0)
    apart = apart * frames_mask((counts - ahead).clamp(min=0), apart.shape[1])
    before = (ahead + 1) // 2
    return torch.nn.functional.pad(apart, (before, ahead - before))
