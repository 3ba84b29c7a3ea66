"""What a step of self-supervised training costs: ours beside SpeechBrain's.

    python benchmarks/ssl_step.py

Each step draws masks, makes targets, encodes a padded batch, and ends with the
loss's gradient and one of AdamW. All encoders have ``--layers`` Conformer
layers of ``--d_model`` channels at 40 ms; batch and thread are the same, and
steps take turns in one process. Peers:

- ``speechbrain_recipe``: the modules of SpeechBrain's LibriSpeech BEST-RQ
  recipe, called as that recipe calls them (dynamic chunks off);
- ``speechbrain_bestrq``, ``speechbrain_bestrq_patches`` and
  ``speechbrain_wav2vec2``: SpeechBrain's masks, quantisers, negatives and
  losses around our encoder (the second with the front-end that visible frames
  need), so that nothing but the objective differs;
- ``speechbrain_bestrq_alone`` beside ``bestrq_alone``: around a front-end of
  patches without any layer behind it, which is next to nothing: masks, quantiser
  and loss;
- ``speechbrain_encoder``: our encoder with SpeechBrain's own attention and
  convolutions of the same weights, beside ``encoder``; neither with any
  objective. ``encoder`` on all and ``encoder_visible`` on two fifths of the
  frames are bounds, too: no objective around them, ours or another, is faster.

Prints seconds of audio for a CPU second and the peak memory of a step, then
``ratio time OURS PEER`` (goals: bestrq 1.8 and bestrq_visible 3 beside the
recipe, wav2vec2 1.3) and ``ratio memory OURS PEER`` (goal: at least 1), both
as peer over ours where more is better for us.
"""

import argparse
import time

import torch
from measuring import measure_memory, measure_time
from peers import (
    CODE_SIZE,
    CODES,
    MELS,
    NEGATIVES,
    TARGET_SIZE,
    VARIANTS,
    PeerBestRQ,
    PeerWav2Vec2,
    recipe_bestrq,
    speechbrain_layers,
)

from speechbrain_privacy.lobes.bestrq import BestRQ, RandomProjectionQuantizer
from speechbrain_privacy.lobes.conformer import ConformerLobe
from speechbrain_privacy.lobes.objectives import LightDecoder, MaskedEncoder
from speechbrain_privacy.lobes.wav2vec2 import GumbelQuantizer, Wav2Vec2
from speechbrain_privacy.masking.policies import FixedSpans

#: Of the frames, that BEST-RQ hides.
RATIO = 0.6

PAIRS = {
    "bestrq": ("speechbrain_recipe", "speechbrain_bestrq"),
    "bestrq_visible": ("speechbrain_recipe", "speechbrain_bestrq_patches"),
    "bestrq_alone": ("speechbrain_bestrq_alone",),
    "encoder": ("speechbrain_encoder", "speechbrain_bestrq"),
    "encoder_visible": ("speechbrain_bestrq_patches",),
    "wav2vec2": ("speechbrain_wav2vec2",),
}


class EncoderAlone(torch.nn.Module):
    """A share of the frames encoded, with hardly a loss."""

    def __init__(self, encoder, share=1.0):
        super().__init__()
        self.encoder = encoder
        self.share = share

    def forward(self, feats, lengths):
        """``feats [batch, time, channels]`` -> a loss."""
        seen = feats[:, : round(self.share * feats.shape[1])]
        return self.encoder(seen, lengths)[0].square().mean()


def make_models(d_model, layers):
    """Name -> model, all with encoders of one architecture."""

    def encoder(num_layers=layers, **options):
        return ConformerLobe(
            MELS,
            d_model=d_model,
            num_layers=num_layers,
            d_ffn=4 * d_model,
            stride=4,
            **options,
        )

    def codes():
        return RandomProjectionQuantizer(4 * MELS, CODES, CODE_SIZE)

    def masked(ratio, span, decoder=None, **options):
        lobe = encoder(**options)
        return MaskedEncoder(lobe, FixedSpans(ratio, span), decoder)

    patches = {"frontend": "patches", "places": True}
    alone = {"frontend": "patches", "num_layers": 0}
    visible = masked(RATIO, 1, LightDecoder(d_model), **patches)
    contrastive = masked(0.49, 10, frontend="patches")
    quantizer = GumbelQuantizer(d_model, TARGET_SIZE, VARIANTS)
    return {
        "speechbrain_recipe": recipe_bestrq(d_model, layers),
        "speechbrain_bestrq": PeerBestRQ(encoder()),
        "speechbrain_bestrq_patches": PeerBestRQ(encoder(**patches)),
        "bestrq": BestRQ(masked(RATIO, 1), codes()),
        "bestrq_visible": BestRQ(visible, codes()),
        "speechbrain_bestrq_alone": PeerBestRQ(encoder(**alone)),
        "bestrq_alone": BestRQ(masked(RATIO, 1, **alone), codes()),
        "speechbrain_encoder": EncoderAlone(speechbrain_layers(encoder())),
        "encoder": EncoderAlone(encoder()),
        "encoder_visible": EncoderAlone(encoder(**patches), 1.0 - RATIO),
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
