"""A trained model as a folder that others can use without this package.

What protects a model is needed to train it, not to run it: adversaries stay
behind, and the rest is written as SpeechBrain's own modules.
"""

import tempfile
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.decoders.ctc import ctc_greedy_decode

from speechbrain_privacy.dataio.audio import read_utterance
from speechbrain_privacy.dataio.files import replaced_file
from speechbrain_privacy.dataio.tokenizer import BLANK
from speechbrain_privacy.lobes.conformer import ConformerLobe
from speechbrain_privacy.lobes.frontends import Subsampling
from speechbrain_privacy.lobes.pretrained import PretrainedEncoder
from speechbrain_privacy.nnet.weights import merged_weights
from speechbrain_privacy.runs import reads_words, reopen

#: Log-probabilities may differ by this much: sums are taken in another order.
ROUNDING = 1e-3
#: Parts that an exported recogniser has.
EXPORTED = {"features", "normalize", "encoder", "head", "log_probs"}

HEAD = """\
# A CTC recogniser for SpeechBrain:
#
#   from speechbrain.inference.ASR import EncoderASR
#   EncoderASR.from_hparams(source=FOLDER).transcribe_file("a.wav")
#
# Exact for one utterance at a time: in a batch, SpeechBrain's modules let
# padding reach the frames beside it.
sample_rate: {sample_rate}
"""

CONFORMER = """\
features: !new:speechbrain.lobes.features.Fbank
    sample_rate: !ref <sample_rate>
    n_fft: 400
    n_mels: {n_mels}

normalize: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    epsilon: 1.0e-5

{convolutions}
transformer: !new:speechbrain.lobes.models.transformer.TransformerASR.TransformerASR
    tgt_vocab: {n_tokens}
    input_size: {flat}
    d_model: {d_model}
    nhead: {nhead}
    num_encoder_layers: {num_layers}
    num_decoder_layers: 0
    d_ffn: {d_ffn}
    dropout: {dropout}
    kernel_size: {kernel_size}
    encoder_module: conformer
    attention_type: RelPosMHAXL
    positional_encoding: null
    normalize_before: True
    causal: False

wrapped: !new:speechbrain.lobes.models.transformer.TransformerASR.EncoderWrapper
    transformer: !ref <transformer>
"""

CONVOLUTION = """\
conv{i}: !new:speechbrain.nnet.CNN.Conv2d
    {shape}
    out_channels: {channels}
    kernel_size: 3
    stride: !!python/tuple [2, 2]
    padding_mode: constant
    swap: True
"""

PRETRAINED = """\
# Where the model's shape comes from; its weights are in encoder.ckpt. If this
# folder has moved: from_hparams(source=FOLDER, overrides={{"model_source": ...}})
model_source: {source}

wrapped: !new:speechbrain.integrations.huggingface.{kind}
    {argument}: !ref <model_source>
    save_path: {save_path}
"""
#: For the last layer and for a learnt sum of all: what SpeechBrain has.
LOBES = {
    False: {"kind": "wav2vec2.Wav2Vec2", "argument": "source"},
    True: {"kind": "weighted_ssl.WeightedSSLModel", "argument": "hub"},
}
#: Below an exported folder: a model that was a folder, too.
SOURCE = "model"

TAIL = """\

head: !new:torch.nn.Linear
    in_features: {d_model}
    out_features: {n_tokens}

log_softmax: !new:torch.nn.LogSoftmax
    dim: -1

encoder: !new:speechbrain.nnet.containers.LengthsCapableSequential
{layers}
tokenizer: !new:sentencepiece.SentencePieceProcessor

decoding_function: !name:speechbrain.decoders.ctc_greedy_decode
    blank_id: 0

modules:
    encoder: !ref <encoder>

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        encoder: !ref <encoder>
        tokenizer: !ref <tokenizer>
"""


def export_run(folder, output):
    """Writes a finished recogniser for ``EncoderASR.from_hparams``.

    Of a run that has pre-trained a model of waveforms, the model is written
    as the hub of Hugging Face would have it.

    Arguments
    ---------
    folder : str or Path
        Output folder of a run.
    output : str or Path
        A folder that does not exist, or is empty.

    Returns
    -------
    dict
        ``utterance``, of the test data, that both were given; its
        ``difference``, the largest one of any log-probability; the
        ``transcript``, decoded greedily (None of a pre-training, whose
        ``difference`` is one of hidden frames); whether the run itself ``searches``;
        how many ``epochs`` of how many were trained; and the ``parameters``
        that were written.

    Raises
    ------
    ValueError
        If the run is neither of these, or has parts that SpeechBrain has none
        like, or gives something else in its new shape.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} is there already: give another folder")
    brain, data, hparams = reopen(folder)
    brain.modules.eval()
    row = data.manifests["test"].rows[0]
    wav = read_utterance(row["wav"], hparams["model"]["sample_rate"])[None]
    told = {
        "utterance": row["ID"],
        "epochs": (brain.epoch_counter.current, brain.epoch_counter.limit),
        "searches": False,
        "transcript": None,
    }
    if not reads_words(hparams):
        encoder = brain.unwrapped("objective").network.encoder
        if not isinstance(encoder, PretrainedEncoder):
            raise ValueError(
                f"{folder} is no recogniser, and its encoder is one of this "
                "package's own: load it with TrainedEncoder.from_pretrained"
            )
        return {**told, **_write_encoder(encoder, wav, output)}
    parts = set(brain.modules) - {"adversaries"}
    if further := sorted(parts - EXPORTED):
        raise ValueError(
            f"{folder} has {', '.join(further)}, and SpeechBrain has no "
            "module like it"
        )
    tokenizer = hparams["tokenizer"]
    encoder = brain.unwrapped("encoder")
    text, fill = _described(encoder, hparams["model"], len(tokenizer))
    stock = load_hyperpyyaml(text)
    fill(stock)
    head = brain.unwrapped("head")
    with torch.no_grad():
        stock["head"].weight.copy_(head.weight[: len(tokenizer)])
        stock["head"].bias.copy_(head.bias[: len(tokenizer)])
    difference = 0.0
    # Loudly at the end, whose transcript is told.
    for gain in (0.01, 1.0):
        ours = _log_probs(brain, gain * wav, len(tokenizer))
        with torch.no_grad():
            theirs = stock["encoder"].eval()(gain * wav, torch.ones(1))
        difference = max(difference, float((ours - theirs).abs().max()))
    if not difference <= ROUNDING:
        raise ValueError(
            f"in its new shape the model differs by {difference:.2g} on "
            f"'{row['ID']}': nothing is written"
        )
    output.mkdir(parents=True, exist_ok=True)
    if Path(hparams["model"].get("source", "")).is_dir() and isinstance(
        encoder, PretrainedEncoder
    ):
        # A folder may go: the model comes along.
        source = (output / SOURCE).resolve()
        encoder.write(source)
        text, _ = _described(encoder, hparams["model"], len(tokenizer), source)
    with replaced_file(output / "encoder.ckpt", mode="wb") as file:
        torch.save(stock["encoder"].state_dict(), file)
    tokenizer.save(output / "tokenizer.ckpt")
    with replaced_file(output / "hyperparams.yaml") as file:
        file.write(text)
    (best,) = ctc_greedy_decode(theirs, torch.ones(1), BLANK)
    return {
        **told,
        "difference": difference,
        "transcript": tokenizer.decode(best),
        "searches": brain.searcher is not None,
        "parameters": sum(p.numel() for p in stock["encoder"].parameters()),
    }


@torch.no_grad()
def _write_encoder(encoder, wav, output):
    """Writes it, if it is the same when it is read again."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        made = Path(folder) / output.name
        encoder.write(made)
        read = PretrainedEncoder(str(made)).eval()
        ours, theirs = (x(wav, torch.ones(1))[0] for x in (encoder, read))
        difference = float((ours - theirs).abs().max())
        if not difference <= ROUNDING:
            raise ValueError(
                f"in its new shape the model's frames differ by "
                f"{difference:.2g}: nothing is written"
            )
        made.replace(output)
    return {
        "difference": difference,
        "parameters": sum(p.numel() for p in encoder.model.parameters()),
    }


def _log_probs(brain, wav, n_tokens):
    lengths = torch.ones(1)
    modules = brain.modules
    with torch.no_grad():
        x = modules.normalize(modules.features(wav), lengths)
        hidden, _ = modules.encoder(x, lengths)
        return modules.log_probs(modules.head(hidden)[..., :n_tokens].float())


def _described(encoder, model, n_tokens, source=None):
    """A YAML, and what fills the modules that it makes."""
    head = HEAD.format(sample_rate=model["sample_rate"])
    tail = {"n_tokens": n_tokens}
    if isinstance(encoder, ConformerLobe):
        if not isinstance(encoder.subsampling, Subsampling) or encoder.places:
            raise ValueError(
                "SpeechBrain has no front-end of patches, or with places: "
                "only encoders with convolutions can be exported"
            )
        convs = encoder.subsampling.convs
        channels = convs[0].out_channels
        body = CONFORMER.format(
            convolutions="\n".join(
                CONVOLUTION.format(
                    i=i,
                    channels=channels,
                    shape=f"in_channels: {channels}"
                    if i
                    else f"input_shape: [null, null, {model['n_mels']}]",
                )
                for i in range(len(convs))
            ),
            flat=encoder.subsampling.project.in_features,
            **tail,
            **model,
        )
        layers = ["features", "normalize"]
        for i in range(len(convs)):
            layers += [f"conv{i}", f"relu{i}"]
            body += f"\nrelu{i}: !new:torch.nn.ReLU\n"
        fill = _fill_conformer
        tail["d_model"] = encoder.d_model
    elif isinstance(encoder, PretrainedEncoder):
        if not encoder.whole:
            raise ValueError(
                "only pre-trained encoders with all their layers can be "
                "exported: output: last or weighted"
            )
        if encoder.sum is not None and encoder.normalize:
            raise ValueError(
                f"{model['source']} wants waveforms normalised, and "
                "SpeechBrain's weighted sum does not do that"
            )
        body = PRETRAINED.format(
            **LOBES[encoder.sum is not None],
            source=source or model["source"],
            save_path=model["save_path"],
        )
        layers = []
        fill = _fill_pretrained
        tail["d_model"] = encoder.output_size
    else:
        raise ValueError(
            f"SpeechBrain has no module like {type(encoder).__name__}"
        )
    layers += ["wrapped", "head", "log_softmax"]
    lines = "".join(f"    {name}: !ref <{name}>\n" for name in layers)
    text = head + "\n" + body + TAIL.format(layers=lines, **tail)
    return text, lambda stock: fill(encoder, stock)


@torch.no_grad()
def _fill_conformer(encoder, stock):
    front = encoder.subsampling
    for i, conv in enumerate(front.convs):
        stock[f"conv{i}"].conv.load_state_dict(conv.state_dict())
    transformer = stock["transformer"]
    transformer.encoder.load_state_dict(encoder.layers.state_dict())
    # There a frame's bins come one after another, with all their channels.
    channels = front.convs[-1].out_channels
    weight = front.project.weight.unflatten(1, (channels, -1))
    linear = transformer.custom_src_module.layers[0].w
    linear.weight.copy_(weight.transpose(1, 2).flatten(1))
    linear.bias.copy_(front.project.bias)


@torch.no_grad()
def _fill_pretrained(encoder, stock):
    stock["wrapped"].model.load_state_dict(merged_weights(encoder.model))
    if encoder.sum is not None:
        stock["wrapped"].weights.copy_(encoder.sum.scores)
