"""What the self-supervised objectives share: hiding frames, and what is left."""

from dataclasses import dataclass, field

import torch

from speechbrain_privacy.lobes.frontends import patched, sinusoids
from speechbrain_privacy.masking.grid import slowed
from speechbrain_privacy.nnet.choices import chosen
from speechbrain_privacy.nnet.pooling import (
    counts_after,
    frame_counts,
    frames_mask,
)

#: Standard deviation of what stands in for hidden features.
NOISE = 0.1


@dataclass
class ObjectiveOutput:
    """One batch of an objective.

    ``loss`` is the mean over ``count`` hidden frames (without any it is 0,
    but for what keeps codes in use); ``correct`` of them were predicted.
    ``hidden [batch, frames, dim]`` with relative ``lengths`` is the
    representation, for adversaries; each utterance stands there once for each
    of its masks. ``measures`` says more of how it learns, by name.
    """

    loss: torch.Tensor
    count: int
    correct: torch.Tensor
    hidden: torch.Tensor
    lengths: torch.Tensor
    measures: dict = field(default_factory=dict)


class LightDecoder(torch.nn.Module):
    """Hidden frames back from visible ones: a few grouped convolutions.

    Source: after Baevski et al., "Efficient self-supervised learning with
    contextualized target representations" (data2vec 2.0), ICML 2023: what is
    encoded is only what is visible, and a small convolutional network fills
    in the rest.

    Arguments
    ---------
    input_size : int
        Of the encoder's frames.
    channels : int
        Of the decoder.
    num_layers, kernel_size, groups : int
        Of its convolutions.

    Example
    -------
    >>> decoder = LightDecoder(12, channels=16, groups=4)
    >>> decoder(torch.rand(2, 9, 12), torch.tensor([9, 5])).shape
    torch.Size([2, 9, 16])
    """

    def __init__(
        self, input_size, channels=128, num_layers=3, kernel_size=7, groups=16
    ):
        super().__init__()
        if kernel_size % 2 != 1:
            raise ValueError(f"kernel_size is odd, not {kernel_size}")
        self.output_size = channels
        self.project = torch.nn.Linear(input_size, channels)
        self.convs = torch.nn.ModuleList(
            torch.nn.Conv1d(
                channels,
                channels,
                kernel_size,
                padding=kernel_size // 2,
                groups=groups,
            )
            for _ in range(num_layers)
        )
        self.norms = torch.nn.ModuleList(
            torch.nn.LayerNorm(channels) for _ in range(num_layers)
        )

    def forward(self, x, counts):
        """``x [batch, frames, input_size]`` -> ``[batch, frames, channels]``."""
        padding = ~frames_mask(counts, x.shape[1]).unsqueeze(2)
        x = self.project(x).masked_fill(padding, 0.0)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = conv(x.transpose(1, 2)).transpose(1, 2)
            y = torch.nn.functional.gelu(norm(y))
            x = (x + y).masked_fill(padding, 0.0)
        return x


def chosen_decoder(encode, d_model):
    """What fills in hidden frames, by what is encoded.

    Arguments
    ---------
    encode : str
        ``everything`` (nothing is filled in) or ``visible``.
    d_model : int
        Of the encoder.

    Returns
    -------
    LightDecoder or None

    Example
    -------
    >>> chosen_decoder("visible", 32).output_size
    128
    """
    kinds = {
        "everything": lambda: None,
        "visible": lambda: LightDecoder(d_model),
    }
    return chosen(kinds, encode, "encode")()


class MaskedEncoder(torch.nn.Module):
    """Hides frames of an utterance, encodes the rest, guesses the hidden.

    Arguments
    ---------
    encoder : ConformerLobe
    policy : callable
        ``masking.policies``; ratio and lengths are in encoder frames.
    decoder : LightDecoder, optional
        With one, the encoder sees visible frames alone, and the decoder
        fills in the rest; without, it sees hidden frames replaced (by noise
        in the features, or by a learnt frame behind a front-end of separate
        ones).
    masks : int
        Masks for each utterance. They share one pass through a front-end
        of separate frames.
    generator : torch.Generator, optional
        What masks are drawn from, on the model's device; default: torch's
        own, which this package's Brains seed in every step. In other Brains
        a ``speechbrain.utils.repro.SaveableGenerator`` keeps its state.

    Example
    -------
    >>> from speechbrain_privacy.lobes.conformer import ConformerLobe
    >>> from speechbrain_privacy.masking.policies import FixedSpans
    >>> lobe = ConformerLobe(80, d_model=32, num_layers=1, d_ffn=64)
    >>> net = MaskedEncoder(lobe, FixedSpans(0.5, span=3))
    >>> out = net(torch.rand(2, 40, 80), torch.tensor([1.0, 0.5]))
    >>> out.guess.shape, out.mask.sum(1).tolist()
    (torch.Size([2, 10, 32]), [5, 2])
    """

    def __init__(self, encoder, policy, decoder=None, masks=1, generator=None):
        super().__init__()
        if masks < 1:
            raise ValueError(f"masks is 1 or more, not {masks}")
        if decoder is not None and not encoder.places:
            raise ValueError(
                "an encoder that sees visible frames alone must be told "
                "where they come from: places=True, in recipes --model "
                '"{frontend: patches, places: true}"'
            )
        self.encoder = encoder
        self.policy = policy
        self.decoder = decoder
        self.masks = masks
        self.generator = generator
        self.hidden_frame = None
        if decoder is not None or encoder.subsampling.separate:
            # Stands where a frame is hidden (else noise does, in features).
            self.hidden_frame = torch.nn.Parameter(
                0.1 * torch.randn(encoder.d_model)
            )

    @property
    def output_size(self):
        """Channels of the guesses."""
        if self.decoder is None:
            return self.encoder.d_model
        return self.decoder.output_size

    def forward(self, feats, lengths, begins=None, speech=None):
        """Encodes a batch under fresh masks.

        Arguments
        ---------
        feats : torch.Tensor
            ``[batch, time, channels]``.
        lengths : torch.Tensor
            Relative, ``[batch]``.
        begins, speech : torch.Tensor, optional
            Boolean, ``[batch, time]``: where phones begin, and where somebody
            speaks, for policies that listen.

        Returns
        -------
        MaskedOutput
        """
        stride = self.encoder.stride
        counts = frame_counts(lengths, feats.shape[1])
        n_frames = -(-feats.shape[1] // stride)
        check_rates(feats.shape[1], begins, speech)
        slow = counts_after(stride, counts)
        if begins is not None:
            begins = fitted(slowed(begins, stride), n_frames)
        if speech is not None:
            share = patched(speech.float().unsqueeze(2), stride).mean(2)
            speech = fitted(share >= 0.5, n_frames)
        repeat = self._repeated
        latents = None
        mask = self.policy(
            repeat(slow), repeat(begins), repeat(speech), self.generator
        )
        mask = fitted(mask, n_frames)
        if self.encoder.subsampling.separate:
            latents, _ = self.encoder.subsampling(feats, counts)
            x, slow = repeat(latents), repeat(slow)
            if self.decoder is None:
                hidden = self.hidden_frame.to(x.dtype)
                x = torch.where(mask.unsqueeze(2), hidden, x)
        else:
            feats, counts = repeat(feats), repeat(counts)
            fine = mask.repeat_interleave(stride, dim=1)[:, : feats.shape[1]]
            noise = NOISE * torch.randn_like(feats)
            feats = torch.where(fine.unsqueeze(2), noise, feats)
            x, slow = self.encoder.subsampling(feats, counts)
        if self.decoder is None:
            hidden = self.encoder.contextualise(x, slow)
            return MaskedOutput(
                hidden, mask, slow, hidden, slow, latents, self.masks
            )
        return self._visible_only(x, slow, mask, latents)

    def _repeated(self, x):
        """Each row as often as there are masks."""
        if x is None or self.masks == 1:
            return x
        return x.repeat_interleave(self.masks, dim=0)

    def _visible_only(self, x, counts, mask, latents):
        n_frames, dim = x.shape[1], x.shape[2]
        visible = frames_mask(counts, n_frames) & ~mask
        seen = visible.sum(1)
        # Visible frames first, in their order.
        order = torch.argsort(~visible, dim=1, stable=True)
        order = order[:, : max(1, int(seen.max()))]
        index = order.unsqueeze(2).expand(-1, -1, dim)
        hidden = self.encoder.contextualise(
            x.gather(1, index), seen.clamp(min=1), order
        )
        full = self.hidden_frame.to(hidden.dtype).expand(len(x), n_frames, dim)
        kept = frames_mask(seen, order.shape[1]).unsqueeze(2)
        # Of a row without visible frames there is no representation.
        hidden = hidden.masked_fill((seen == 0)[:, None, None], 0.0)
        full = full.scatter(
            1, index, torch.where(kept, hidden, full[:, : order.shape[1]])
        )
        places = torch.arange(n_frames, device=x.device)
        guess = self.decoder(full + sinusoids(places, dim).to(x.dtype), counts)
        return MaskedOutput(
            guess,
            mask,
            counts,
            hidden,
            seen.clamp(min=1),
            latents,
            self.masks,
        )


@dataclass
class MaskedOutput:
    """``guess [batch, frames, dim]`` for all of ``counts`` frames, ``mask``
    True where hidden; ``hidden`` with ``hidden_counts`` frames is what the
    encoder gave. ``latents [utterances, frames, d_model]`` is what the
    front-end gave before anything was hidden, if its frames are separate.
    Each utterance stands in the others ``masks`` times, one after another."""

    guess: torch.Tensor
    mask: torch.Tensor
    counts: torch.Tensor
    hidden: torch.Tensor
    hidden_counts: torch.Tensor
    latents: torch.Tensor | None = None
    masks: int = 1

    def places(self):
        """Hidden frames: ``(row of a mask, frame)``, to index ``guess``, and
        ``(utterance, frame)``, to index what masks share."""
        row, frame = self.mask.nonzero(as_tuple=True)
        utterance = row.div(self.masks, rounding_mode="floor")
        return (row, frame), (utterance, frame)

    @property
    def hidden_lengths(self):
        """Relative lengths of ``hidden``."""
        return self.hidden_counts / self.hidden.shape[1]


def check_rates(n_frames, begins, speech):
    """Frames of features and of detectors must come equally often.

    Arguments
    ---------
    n_frames : int
        Of features.
    begins, speech : torch.Tensor or None
        Of detectors, ``[batch, frames]``.

    Raises
    ------
    ValueError
        If they differ by more than one.
    """
    for name, x in (("boundaries", begins), ("speech", speech)):
        if x is not None and abs(x.shape[1] - n_frames) > 1:
            raise ValueError(
                f"{x.shape[1]} frames of {name} beside {n_frames} of "
                "features: both come every 10 ms, at the same sample_rate"
            )


def fitted(x, n_frames):
    """Booleans ``[batch, frames]`` cut or filled up with False.

    Example
    -------
    >>> fitted(torch.tensor([[True, True]]), 3).tolist()
    [[True, True, False]]
    """
    missing = n_frames - x.shape[1]
    return torch.nn.functional.pad(x, (0, missing)) if missing else x
