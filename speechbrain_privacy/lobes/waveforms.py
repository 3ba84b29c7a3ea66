"""Pre-training a model of waveforms, in the shape that the hub knows."""

import torch

from speechbrain_privacy.lobes.objectives import (
    MaskedOutput,
    check_rates,
    fitted,
)
from speechbrain_privacy.masking.cepstra import frame_step
from speechbrain_privacy.masking.grid import slowed
from speechbrain_privacy.nnet.pooling import frame_counts


class MaskedWaveforms(torch.nn.Module):
    """Hides latents of wav2vec 2.0, HuBERT or WavLM, and lets it guess them.

    Stands where a ``MaskedEncoder`` does, for objectives that need no
    features: targets come with the data.

    Arguments
    ---------
    encoder : PretrainedEncoder
        With the learnt frame that stands for what is hidden, and all layers.
    policy : callable
        ``masking.policies``; ratio and lengths are in frames of the encoder.
    generator : torch.Generator, optional
        As in ``MaskedEncoder``.

    Raises
    ------
    ValueError
        If nothing can be hidden from the model, or it would not learn.

    Example
    -------
    >>> import tempfile
    >>> from speechbrain_privacy.integrations.huggingface import write_tiny
    >>> from speechbrain_privacy.lobes.pretrained import PretrainedEncoder
    >>> from speechbrain_privacy.masking.policies import FixedSpans
    >>> folder = tempfile.TemporaryDirectory()
    >>> write_tiny(folder.name, "hubert", hidden_size=16)
    >>> encoder = PretrainedEncoder(folder.name, spec_augment=True)
    >>> net = MaskedWaveforms(encoder, FixedSpans(0.5, span=2))
    >>> out = net(torch.rand(2, 8000), torch.tensor([1.0, 0.5]))
    >>> out.guess.shape, out.mask.sum(1).tolist()
    (torch.Size([2, 24, 16]), [12, 6])
    """

    #: As of a ``MaskedEncoder`` that replaces what it hides, once.
    decoder, masks = None, 1

    def __init__(self, encoder, policy, generator=None):
        super().__init__()
        hidden = getattr(encoder.model, "masked_spec_embed", None)
        if not encoder.whole or encoder.sum is not None:
            raise ValueError(
                "a model is pre-trained with all its layers, and guesses from "
                "the last one: output: last"
            )
        if encoder.frozen or hidden is None or not hidden.requires_grad:
            raise ValueError(
                "nothing can be hidden from this model: it needs freeze: "
                "false, no lora, spec_augment: true and a mask_time_prob "
                "above 0 in its own settings"
            )
        self.encoder = encoder
        self.policy = policy
        self.generator = generator

    @property
    def output_size(self):
        """Channels of the guesses."""
        return self.encoder.output_size

    def forward(self, wavs, lengths, begins=None, speech=None):
        """Encodes a batch under fresh masks.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``.
        lengths : torch.Tensor
            Relative, ``[batch]``.
        begins, speech : torch.Tensor, optional
            Boolean, a hundred frames a second, as in ``MaskedEncoder``.

        Returns
        -------
        MaskedOutput
        """
        counts = self.encoder.frames(frame_counts(lengths, wavs.shape[1]))
        n_frames = int(self.encoder.frames(torch.tensor(wavs.shape[1])))
        stride, first = self.encoder.tenths
        hop = frame_step(self.encoder.sample_rate)
        check_rates(wavs.shape[1] // hop + 1, begins, speech)
        if begins is not None:
            begins = fitted(slowed(begins[:, first:], stride), n_frames)
        if speech is not None:
            speech = fitted(speech[:, first::stride], n_frames)
        mask = self.policy(counts, begins, speech, self.generator)
        mask = fitted(mask, n_frames)
        hidden, _ = self.encoder(wavs, lengths, mask)
        return MaskedOutput(hidden, mask, counts, hidden, counts)
