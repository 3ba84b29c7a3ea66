"""What a step of self-supervised training costs: ours beside SpeechBrain's.

    python benchmarks/ssl_step.py

Each step draws masks, makes targets, encodes a padded batch, and ends with the
loss's gradient and one of AdamW. All encoders have ``--layers`` Conformer
layers of ``--d_model`` channels at 40 ms; batch and thread are the same, and
steps take turns in one process. Peers:

- ``speechbrain_recipe``: the modules of SpeechBrain's LibriSpeech BEST-RQ
  recipe, called as that recipe calls them (dynamic chunks off);
- ``speechbrain_bestrq``, ``speechbrain_wav2vec2``: SpeechBrain's masks,
  quantisers, negatives and losses around our encoder, so that nothing but the
  objective differs.

Prints seconds of audio for a CPU second and the peak memory of a step, then
``ratio time OURS PEER`` (goals: bestrq 1.8 and bestrq_visible 3 beside the
recipe, wav2vec2 1.3) and ``ratio memory OURS PEER`` (goal: at least 1), both
as peer over ours where more is better for us.
"""

import argparse
import time

import torch
from measuring import measure_memory, measure_time
from speechbrain.lobes.models import BESTRQ as sb_bestrq
from speechbrain.lobes.models import wav2vec as sb_wav2vec
from speechbrain.lobes.models.convolution import ConvolutionFrontEnd
from speechbrain.lobes.models.transformer.TransformerASR import (
    EncoderWrapper,
    TransformerASR,
)
from speechbrain.nnet.losses import ContrastiveLoss
from speechbrain.nnet.quantisers import RandomProjectionQuantizer as SBCodes

from speechbrain_privacy.lobes.bestrq import BestRQ, RandomProjectionQuantizer
from speechbrain_privacy.lobes.conformer import ConformerLobe
from speechbrain_privacy.lobes.frontends import patched
from speechbrain_privacy.lobes.objectives import LightDecoder, MaskedEncoder
from speechbrain_privacy.lobes.wav2vec2 import GumbelQuantizer, Wav2Vec2
from speechbrain_privacy.masking.policies import FixedSpans

MELS, CODES, CODE_SIZE = 80, 8192, 16
#: Of SpeechBrain's recipes: 60 % in spans of 4 frames of 10 ms for BEST-RQ,
#: and for wav2vec 2.0 what covers 49 % in spans of 10 frames.
BESTRQ_MASK = {"mask_prob": 0.15, "mask_length": 4}
WAV2VEC2_MASK = {"mask_prob": 0.65, "mask_length": 10}
NEGATIVES, TARGET_SIZE, VARIANTS = 100, 256, 320
PAIRS = {
    "bestrq": ("speechbrain_recipe", "speechbrain_bestrq"),
    "bestrq_visible": ("speechbrain_recipe", "speechbrain_bestrq"),
    "wav2vec2": ("speechbrain_wav2vec2",),
}


class PeerRecipe(torch.nn.Module):
    """The encoder of SpeechBrain's BEST-RQ recipe, front-end included."""

    stride = 4

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
    """SpeechBrain's BEST-RQ step around an encoder."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.quantizer = SBCodes(MELS * encoder.stride, CODE_SIZE, CODES)
        self.head = torch.nn.Linear(encoder.d_model, CODES)

    def forward(self, feats, lengths):
        """Loss of a batch."""
        stride, (n_rows, n_frames, _) = self.encoder.stride, feats.shape
        counts = (lengths * n_frames).long().tolist()
        mask = sb_bestrq.compute_mask(feats.shape, counts, **BESTRQ_MASK)
        slow = mask[::stride] // stride
        codes = self.quantizer(patched(feats, stride)[:, slow])
        feats = feats.clone()
        feats[:, mask] = 0.1 * torch.randn(n_rows, len(mask), MELS)
        hidden, _ = self.encoder(feats, lengths)
        logits = self.head(hidden)[:, slow]
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), codes.flatten()
        )


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
        counts = (lengths * feats.shape[1]).long()
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


def make_models(d_model, layers):
    """Name -> model, all with encoders of one architecture."""

    def encoder(**options):
        return ConformerLobe(
            MELS,
            d_model=d_model,
            num_layers=layers,
            d_ffn=4 * d_model,
            stride=4,
            **options,
        )

    def codes():
        return RandomProjectionQuantizer(4 * MELS, CODES, CODE_SIZE)

    def masked(ratio, span, decoder=None, **options):
        lobe = encoder(**options)
        return MaskedEncoder(lobe, FixedSpans(ratio, span), decoder)

    visible = masked(
        0.6,
        1,
        LightDecoder(d_model),
        frontend="patches",
        places=True,
    )
    contrastive = masked(0.49, 10, frontend="patches")
    quantizer = GumbelQuantizer(d_model, TARGET_SIZE, VARIANTS)
    return {
        "speechbrain_recipe": PeerBestRQ(PeerRecipe(d_model, layers)),
        "speechbrain_bestrq": PeerBestRQ(encoder()),
        "bestrq": BestRQ(masked(0.6, 1), codes()),
        "bestrq_visible": BestRQ(visible, codes()),
        "speechbrain_wav2vec2": PeerWav2Vec2(encoder(frontend="patches")),
        "wav2vec2": Wav2Vec2(contrastive, quantizer, TARGET_SIZE, NEGATIVES),
    }


def make_step(model, feats, lengths):
    """One optimizer step as a function without arguments."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step():
        out = model(feats, lengths)
        loss = out if isinstance(out, torch.Tensor) else out.loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--d_model", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    feats = torch.randn(options.utterances, round(100 * options.seconds), MELS)
    lengths = torch.linspace(0.8, 1.0, options.utterances)
    models = make_models(options.d_model, options.layers)
    steps = {n: make_step(m, feats, lengths) for n, m in models.items()}
    seconds = measure_time(steps, options.repeats, time.process_time, 2)
    memory = measure_memory(steps, 3)
    audio = float(lengths.sum()) * options.seconds
    for name in steps:
        print(
            f"{name}: {audio / seconds[name]:.1f} s of audio for a CPU second, "
            f"{memory[name]:.0f} MiB"
        )
    for ours, peers in PAIRS.items():
        for peer in peers:
            for what, found in (("time", seconds), ("memory", memory)):
                print(
                    f"ratio {what} {ours} {peer} {found[peer] / found[ours]:.2f}"
                )


if __name__ == "__main__":
    main()
