"""From feature frames to fewer, wider frames for an encoder."""

import torch

from speechbrain_privacy.nnet.pooling import (
    counts_after,
    frame_counts,
    frames_mask,
)


class Waveform(torch.nn.Module):
    """No features at all, and no normalisation: for encoders of waveforms.

    Example
    -------
    >>> Waveform()(torch.ones(2, 5), torch.ones(2)).shape
    torch.Size([2, 5])
    """

    def forward(self, wavs, lengths=None):
        """``wavs [batch, samples]`` -> the same."""
        return wavs


def extract(features, wavs, lengths):
    """Features of a padded batch, and how much of them is no padding.

    Of an utterance of ``m`` samples ``m // hop + 1`` frames of a centred
    short-time transform hear it, whatever it was padded to. The share of
    samples alone, rounded to frames, can be one frame off.

    Arguments
    ---------
    features : torch.nn.Module
        Waveform -> features; SpeechBrain's have ``compute_STFT``.
    wavs : torch.Tensor
        ``[batch, samples]``.
    lengths : torch.Tensor
        Relative, ``[batch]``.

    Returns
    -------
    tuple of torch.Tensor
        Features ``[batch, frames, ...]``, and their relative lengths.

    Example
    -------
    >>> from speechbrain.lobes.features import Fbank
    >>> feats, lengths = extract(
    ...     Fbank(n_mels=8), torch.rand(2, 1900), torch.tensor([1.0, 0.42])
    ... )
    >>> feats.shape[1], (lengths * 12).round().tolist()
    (12, [12.0, 5.0])
    """
    feats = features(wavs)
    inside = getattr(features, "module", features)  # of several processes
    stft = getattr(inside, "compute_STFT", None)
    if stft is None:
        return feats, lengths
    counts = frame_counts(lengths, wavs.shape[1]) // stft.hop_length + 1
    # Slightly less, since SpeechBrain counts a frame that begins within.
    return feats, counts / feats.shape[1] * (1 - 1e-6)


def patched(feats, stride):
    """Stacks ``stride`` frames to one, the last filled up with zeros.

    Arguments
    ---------
    feats : torch.Tensor
        ``[batch, time, channels]``.
    stride : int

    Returns
    -------
    torch.Tensor
        ``[batch, ceil(time / stride), stride * channels]``.

    Example
    -------
    >>> patched(torch.ones(1, 5, 2), 4).shape
    torch.Size([1, 2, 8])
    """
    missing = -feats.shape[1] % stride
    feats = torch.nn.functional.pad(feats, (0, 0, 0, missing))
    return feats.reshape(len(feats), -1, stride * feats.shape[2])


def sinusoids(at, dim):
    """Sines and cosines of places.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, 3.5.

    Arguments
    ---------
    at : torch.Tensor
        Places, whole numbers of any shape.
    dim : int
        Channels.

    Returns
    -------
    torch.Tensor
        The shape of ``at`` and ``dim``.

    Example
    -------
    >>> sinusoids(torch.tensor([0, 3]), 4).shape
    torch.Size([2, 4])
    """
    rate = torch.arange(0, dim, 2, device=at.device) / dim
    angle = at.unsqueeze(-1) / 10000.0**rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)[
        ..., :dim
    ]


class Patches(torch.nn.Module):
    """One linear map of ``stride`` frames that nobody else sees.

    Arguments
    ---------
    input_size, output_size : int
        Feature channels, and channels of the output frames.
    stride : int
        Input frames for one output frame.

    Example
    -------
    >>> out, counts = Patches(80, 144)(torch.rand(1, 6, 80), torch.tensor([6]))
    >>> out.shape, counts
    (torch.Size([1, 2, 144]), tensor([2]))
    """

    #: Whether each output frame has input frames of its own.
    separate = True

    def __init__(self, input_size, output_size, stride=4):
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride is 1 or more; got {stride}")
        self.stride = stride
        #: The input frame that output frame 0 has its middle at.
        self.centre = (stride - 1) / 2
        self.project = torch.nn.Linear(stride * input_size, output_size)
        self.norm = torch.nn.LayerNorm(output_size)

    def forward(self, x, counts):
        """As ``Subsampling.forward``."""
        x = x.masked_fill(~frames_mask(counts, x.shape[1]).unsqueeze(2), 0.0)
        x = self.norm(self.project(patched(x, self.stride)))
        return x, counts_after(self.stride, counts)


class Subsampling(torch.nn.Module):
    """Strided 2-D convolutions, each of which halves frames and channels.

    Arguments
    ---------
    input_size : int
        Feature channels (mel bins).
    output_size : int
        Channels of the output frames.
    stride : int
        Input frames for one output frame: 2, 4 or 8.
    channels : int
        Feature maps of the convolutions.

    Example
    -------
    >>> net = Subsampling(80, 144)
    >>> out, counts = net(torch.rand(2, 41, 80), torch.tensor([41, 20]))
    >>> out.shape, counts.tolist()
    (torch.Size([2, 11, 144]), [11, 5])
    """

    separate = False
    centre = 0.0

    def __init__(self, input_size, output_size, stride=4, channels=32):
        super().__init__()
        if stride not in (2, 4, 8):
            raise ValueError(f"stride is 2, 4 or 8; got {stride}")
        self.convs = torch.nn.ModuleList()
        bins, maps = input_size, 1
        for _ in range(stride.bit_length() - 1):
            self.convs.append(
                torch.nn.Conv2d(maps, channels, 3, stride=2, padding=1)
            )
            bins, maps = self.strided(bins), channels
        self.project = torch.nn.Linear(channels * bins, output_size)

    @staticmethod
    def strided(size):
        """Frames (or bins) that one stride-2 convolution leaves of ``size``."""
        return (size + 1) // 2

    def forward(self, x, counts):
        """Shortens a batch.

        Arguments
        ---------
        x : torch.Tensor
            Features, ``[batch, time, input_size]``.
        counts : torch.Tensor
            Valid frames, ``[batch]``.

        Returns
        -------
        x : torch.Tensor
            ``[batch, about time / stride, output_size]``.
        counts : torch.Tensor
            Valid frames after the strides, ``[batch]``.
        """
        x = x.unsqueeze(1)
        for conv in self.convs:
            mask = frames_mask(counts, x.shape[2])
            x = torch.relu(conv(x.masked_fill(~mask[:, None, :, None], 0.0)))
            counts = self.strided(counts)
        return self.project(x.transpose(1, 2).flatten(2)), counts


class ConvolvedPatches(torch.nn.Module):
    """``Subsampling`` of ``stride`` frames that nobody else sees.

    Its convolutions are those of ``Subsampling`` (a layer norm follows), but
    each output frame is made of input frames of its own, with zeros around
    them: what is hidden cannot be seen in the next frame, and several masks
    share one pass.

    Arguments
    ---------
    input_size, output_size, stride, channels : int
        As in ``Subsampling``.

    Example
    -------
    >>> net = ConvolvedPatches(80, 144)
    >>> out, counts = net(torch.rand(1, 6, 80), torch.tensor([6]))
    >>> out.shape, counts
    (torch.Size([1, 2, 144]), tensor([2]))
    """

    separate = True

    def __init__(self, input_size, output_size, stride=4, channels=32):
        super().__init__()
        self.stride = stride
        self.centre = (stride - 1) / 2
        self.convolve = Subsampling(input_size, output_size, stride, channels)
        self.norm = torch.nn.LayerNorm(output_size)

    def forward(self, x, counts):
        """As ``Subsampling.forward``."""
        n_rows, n_frames, n_bins = x.shape
        x = x.masked_fill(~frames_mask(counts, n_frames).unsqueeze(2), 0.0)
        x = patched(x, self.stride).view(-1, self.stride, n_bins)
        x, _ = self.convolve(x, counts.new_full((len(x),), self.stride))
        x = self.norm(x).view(n_rows, -1, x.shape[2])
        return x, counts_after(self.stride, counts)
