"""SpeechBrain's self-supervised objectives, to be compared with.

Its masks, quantisers, negatives and losses, called as its recipes call them
(dynamic chunks off). ``PeerBestRQ`` is also an objective of this project's
recipes, so that the same probes, attackers and meter tell what it learns and
what that costs; from ``recipes/AN4/self-supervised-learning/bestrq``:

    PYTHONPATH=../../../../benchmarks python train.py hparams/bestrq.yaml \\
        --data_folder AN4 --name speechbrain_recipe \\
        --objective "!apply:peers.recipe_bestrq [96, 4, 1024]"

(The weights are in that run's ``objective.ckpt``: its ``encoder.ckpt`` is of
the recipe's own encoder, which is not trained then.)
"""

import torch
from speechbrain.lobes.models import BESTRQ as sb_bestrq
from speechbrain.lobes.models import wav2vec as sb_wav2vec
from speechbrain.lobes.models.convolution import ConvolutionFrontEnd
from speechbrain.lobes.models.transformer.Conformer import ConvolutionModule
from speechbrain.lobes.models.transformer.TransformerASR import (
    EncoderWrapper,
    TransformerASR,
)
from speechbrain.nnet.attention import RelPosMHAXL
from speechbrain.nnet.losses import ContrastiveLoss
from speechbrain.nnet.quantisers import RandomProjectionQuantizer

from speechbrain_privacy.lobes.frontends import patched
from speechbrain_privacy.lobes.objectives import ObjectiveOutput
from speechbrain_privacy.nnet.pooling import frame_counts

MELS, CODES, CODE_SIZE = 80, 8192, 16
#: Of SpeechBrain's recipes: 60 % in spans of 4 frames of 10 ms for BEST-RQ,
#: and for wav2vec 2.0 what covers 49 % in spans of 10 frames.
BESTRQ_MASK = {"mask_prob": 0.15, "mask_length": 4}
WAV2VEC2_MASK = {"mask_prob": 0.65, "mask_length": 10}
NEGATIVES, TARGET_SIZE, VARIANTS = 100, 256, 320


class PeerRecipe(torch.nn.Module):
    """The encoder of SpeechBrain's BEST-RQ recipe, front-end included."""

    stride = 4
    #: Seconds between frames, and of the middle of the first: its convolutions
    #: are padded on both sides.
    grid = (0.04, 0.0)

    def __init__(self, d_model, layers):
        super().__init__()
        self.d_model = d_model
        self.front = ConvolutionFrontEnd(
            input_shape=(8, 10, MELS),
            num_blocks=2,
            num_layers_per_block=1,
            out_channels=(128, 32),
            kernel_sizes=(3, 3),
            strides=(2, 2),
            residuals=(False, False),
        )
        self.layers = EncoderWrapper(
            TransformerASR(
                input_size=640,
                tgt_vocab=1,
                d_model=d_model,
                nhead=4,
                num_encoder_layers=layers,
                num_decoder_layers=0,
                d_ffn=4 * d_model,
                dropout=0.1,
                activation=torch.nn.GELU,
                conformer_activation=torch.nn.GELU,
                encoder_module="conformer",
                attention_type="RelPosMHAXL",
                normalize_before=True,
                causal=False,
            )
        )

    def forward(self, feats, lengths):
        """Hidden frames, and the lengths."""
        return self.layers(self.front(feats), lengths), lengths


class PeerBestRQ(torch.nn.Module):
    """SpeechBrain's BEST-RQ around an encoder, as an objective."""

    def __init__(self, encoder, n_codes=CODES):
        super().__init__()
        # Where recipes look for the encoder.
        self.network = torch.nn.Module()
        self.network.encoder = encoder
        self.quantizer = RandomProjectionQuantizer(
            MELS * encoder.stride, CODE_SIZE, n_codes
        )
        self.head = torch.nn.Linear(encoder.d_model, n_codes)

    def forward(self, feats, lengths, begins=None, speech=None, clean=None):
        """Loss of a batch, as an ``ObjectiveOutput``."""
        encoder, (n_rows, n_frames, _) = self.network.encoder, feats.shape
        counts = frame_counts(lengths, n_frames).tolist()
        mask = sb_bestrq.compute_mask(feats.shape, counts, **BESTRQ_MASK)
        slow = mask[:: encoder.stride] // encoder.stride
        told = feats if clean is None else clean
        codes = self.quantizer(patched(told, encoder.stride)[:, slow])
        feats = feats.clone()
        noise = torch.randn(n_rows, len(mask), MELS, device=feats.device)
        feats[:, mask] = 0.1 * noise
        hidden, hidden_lengths = encoder(feats, lengths)
        logits = self.head(hidden)[:, slow]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), codes.flatten()
        )
        correct = (logits.detach().argmax(2) == codes).float().sum()
        return ObjectiveOutput(
            loss, codes.numel(), correct, hidden, hidden_lengths
        )


def recipe_bestrq(d_model, layers, n_codes=CODES):
    """SpeechBrain's BEST-RQ with its own encoder."""
    return PeerBestRQ(PeerRecipe(d_model, layers), n_codes)


def speechbrain_layers(lobe):
    """A ``ConformerLobe`` whose layers attend and convolve as SpeechBrain's
    do, with the parameters that they share."""
    for layer in lobe.layers.layers:
        layer.mha_layer.__class__ = RelPosMHAXL
        layer.convolution_module.__class__ = ConvolutionModule
    return lobe


class PeerWav2Vec2(torch.nn.Module):
    """SpeechBrain's wav2vec 2.0 step around our encoder and front-end."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.mask_frame = torch.nn.Parameter(torch.rand(encoder.d_model))
        self.quantizer = sb_wav2vec.W2VTargetQuantiser(
            encoder.d_model, TARGET_SIZE, num_vars=VARIANTS
        )
        self.project = torch.nn.Linear(encoder.d_model, TARGET_SIZE)
        self.loss = ContrastiveLoss(0.1)

    def forward(self, feats, lengths):
        """Loss of a batch."""
        counts = frame_counts(lengths, feats.shape[1])
        latents, counts = self.encoder.subsampling(feats, counts)
        n_rows, n_frames, _ = latents.shape
        mask = sb_wav2vec.compute_mask(
            (n_rows, n_frames), counts.tolist(), **WAV2VEC2_MASK
        )
        mask = torch.from_numpy(mask)
        x = latents.clone()
        x[mask] = self.mask_frame
        hidden = self.encoder.contextualise(x, counts)
        guesses = self.project(hidden[mask]).view(n_rows, -1, TARGET_SIZE)
        targets, meta = self.quantizer(
            latents[mask].view(n_rows, -1, latents.shape[2])
        )
        negatives = sb_wav2vec.sample_negatives(targets, NEGATIVES)
        loss, _ = self.loss(guesses, targets, negatives)
        # The contrastive loss is a sum over frames.
        return loss + 0.1 * meta["diversity_loss"] * mask.sum()
