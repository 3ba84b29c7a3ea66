"""A small Conformer encoder whose output does not depend on the batch.

SpeechBrain's Conformer layers behind a strided convolutional front-end, with
every padded frame masked on the way: an utterance gives the same hidden
frames alone and in a padded batch.
"""

import torch
from speechbrain.lobes.models.transformer.Conformer import (
    ConformerEncoder,
    ConvolutionModule,
)
from speechbrain.nnet.attention import RelPosEncXL
from torch.nn.functional import conv2d, glu, linear

from speechbrain_privacy.lobes.frontends import (
    ConvolvedPatches,
    Patches,
    Subsampling,
    sinusoids,
)
from speechbrain_privacy.nnet.attention import RelativeAttention
from speechbrain_privacy.nnet.choices import chosen
from speechbrain_privacy.nnet.pooling import frame_counts, frames_mask
from speechbrain_privacy.nnet.weights import PLACES, load_weights

FRONTENDS = {
    "convolution": Subsampling,
    "patches": lambda size, d_model, stride, _: Patches(size, d_model, stride),
    "convolved_patches": ConvolvedPatches,
}


class PaddingSafeConvolution(ConvolutionModule):
    """SpeechBrain's Conformer convolution, blind to padding.

    The parent masks its output only: what the layers before have put into
    padded frames (their biases at least) reaches the last ``kernel // 2``
    valid frames, by as much as the batch is padded. Here the input of the
    depthwise convolution is masked too. Same parameters, same names.

    Channels stay last in memory, which is faster on a CPU
    (``benchmarks/ssl_step.py``): the pointwise convolution is a product, the
    depthwise one of two dimensions, which has kernels for that order.
    ``bottleneck`` and ``conv`` are read
    for it, not called: no hook hears them.
    """

    def forward(self, x, mask=None, dynchunktrain_config=None):
        """``x [batch, time, dim]``, ``mask [batch, time, 1]`` on padding."""
        if mask is None or dynchunktrain_config is not None:
            return super().forward(x, mask, dynchunktrain_config)
        pointwise, conv = self.bottleneck[0], self.conv
        out = linear(
            self.layer_norm(x), pointwise.weight.squeeze(2), pointwise.bias
        )
        out = glu(out, dim=2).masked_fill(mask, 0.0)
        out = conv2d(
            out.transpose(1, 2).unsqueeze(2),
            conv.weight.unsqueeze(2),
            conv.bias,
            padding=(0, self.padding),
            dilation=(1, self.dilation),
            groups=conv.groups,
        ).squeeze(2)
        if self.causal:
            out = out[..., : -self.padding]
        return self.after_conv(out.transpose(1, 2)).masked_fill(mask, 0.0)


class ChannelDropout(torch.nn.Module):
    """Dropout whose mask all frames of an utterance share.

    On attention weights, ``[batch, head, query, key]``, that means: some
    frames of the utterance are hidden from all others for a step. In
    SpeechBrain's feed-forward, which has time before the batch, all utterances
    share a mask, and frames do not.

    Source: Gal & Ghahramani, "A Theoretically Grounded Application of
    Dropout in Recurrent Neural Networks", 2016 (variational dropout). One
    draw per utterance and channel, not per frame: on a CPU, drawing ordinary
    dropout masks takes a quarter of a training step of this model.

    Arguments
    ---------
    p : float
        Probability to drop a channel.

    Example
    -------
    >>> out = ChannelDropout(0.5)(torch.ones(2, 7, 4))
    >>> bool((out == out[:, :1]).all())
    True
    """

    def __init__(self, p=0.1):
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"a dropout probability lies in [0, 1), got {p}")
        self.p = p

    def forward(self, x):
        """``x [batch, ..., channels]`` -> the same shape."""
        if not self.training or self.p == 0.0:
            return x
        shape = (len(x), *[1] * (x.dim() - 2), x.shape[-1])
        kept = torch.rand(shape, device=x.device) >= self.p
        return x * (kept / (1.0 - self.p)).to(x.dtype)


class ConformerLobe(torch.nn.Module):
    """Features -> hidden frames: subsampling, then Conformer layers.

    Arguments
    ---------
    input_size : int
        Feature channels.
    d_model, num_layers, nhead, d_ffn, kernel_size, dropout
        As in ``speechbrain.lobes.models.transformer.Conformer``.
    stride : int
        Feature frames for one hidden frame: 2, 4 or 8.
    channels : int
        Feature maps of the convolutional front-end.
    frontend : str
        ``"convolution"`` (overlapping, strided), ``"patches"`` (each hidden
        frame sees ``stride`` feature frames of its own: cheaper, and nothing
        of a hidden frame can be seen in the next), or
        ``"convolved_patches"`` (the convolutions, of each patch alone).
    places : bool
        Adds sines and cosines of each frame's place, beside the relative
        places that attention knows: for an encoder that is trained on
        visible frames alone.
    weights : str or Path, optional
        Those of a lobe of the same sizes to begin with, e.g. the
        ``encoder.ckpt`` of a pre-training.

    Example
    -------
    >>> lobe = ConformerLobe(80, d_model=32, num_layers=1, d_ffn=64)
    >>> hidden, lengths = lobe(torch.rand(2, 37, 80), torch.tensor([1.0, 0.5]))
    >>> hidden.shape, lengths
    (torch.Size([2, 10, 32]), tensor([1.0000, 0.5000]))
    """

    def __init__(
        self,
        input_size,
        d_model=144,
        num_layers=4,
        nhead=4,
        d_ffn=576,
        kernel_size=31,
        dropout=0.1,
        stride=4,
        channels=32,
        frontend="convolution",
        places=False,
        weights=None,
    ):
        super().__init__()
        self.stride = stride
        self.d_model = d_model
        self.places = places
        if places:  # nothing to learn, but other frames: weights tell it
            self.register_buffer(PLACES, torch.ones(()))
        make = chosen(FRONTENDS, frontend, "frontend")
        self.subsampling = make(input_size, d_model, stride, channels)
        self.dropout = ChannelDropout(dropout)
        self.positions = RelPosEncXL(d_model)
        self.layers = ConformerEncoder(
            num_layers=num_layers,
            d_model=d_model,
            d_ffn=d_ffn,
            nhead=nhead,
            kernel_size=kernel_size,
            dropout=dropout,
        )
        for layer in self.layers.layers:
            layer.convolution_module = PaddingSafeConvolution(
                d_model, kernel_size, dropout=dropout
            )
            # With the weights that it has drawn; its dropout follows.
            layer.mha_layer.__class__ = RelativeAttention
        for parent in list(self.layers.modules()):
            for name, child in parent.named_children():
                if isinstance(child, torch.nn.Dropout):
                    setattr(parent, name, ChannelDropout(child.p))
        if weights is not None:
            load_weights(self, weights)

    @property
    def grid(self):
        """Seconds between frames, and of the middle of the first, where
        features come every 10 ms."""
        return 0.01 * self.stride, 0.01 * self.subsampling.centre

    def _load_from_state_dict(self, state_dict, prefix, *args):
        if self.places:  # those of older versions do not tell
            state_dict.setdefault(f"{prefix}{PLACES}", torch.ones(()))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, feats, lengths):
        """Encodes a batch.

        Arguments
        ---------
        feats : torch.Tensor
            ``[batch, time, input_size]``.
        lengths : torch.Tensor
            Relative lengths, ``[batch]``.

        Returns
        -------
        hidden : torch.Tensor
            ``[batch, about time / stride, d_model]``.
        lengths : torch.Tensor
            Relative lengths of ``hidden``, ``[batch]``: each stride rounds
            up, so they are not quite those of the features.
        """
        counts = frame_counts(lengths, feats.shape[1])
        x, counts = self.subsampling(feats, counts)
        return self.contextualise(x, counts), counts / x.shape[1]

    def contextualise(self, x, counts, at=None):
        """The layers alone, behind the front-end.

        Arguments
        ---------
        x : torch.Tensor
            What the front-end gives, ``[batch, frames, d_model]``.
        counts : torch.Tensor
            Valid frames, ``[batch]``.
        at : torch.Tensor, optional
            Places of the frames in the utterance, ``[batch, frames]``, where
            they are not all of it.

        Returns
        -------
        torch.Tensor
            ``[batch, frames, d_model]``.
        """
        if self.places:
            if at is None:
                at = torch.arange(x.shape[1], device=x.device)
            x = x + sinusoids(at, self.d_model).to(x.dtype)
        x = self.dropout(x)
        padding = ~frames_mask(counts, x.shape[1])
        hidden, _ = self.layers(
            x.masked_fill(padding.unsqueeze(2), 0.0),
            src_key_padding_mask=padding,
            pos_embs=self.positions(x),
        )
        return hidden
