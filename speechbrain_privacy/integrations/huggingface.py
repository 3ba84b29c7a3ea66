"""Models of the Hugging Face hub: loading them, and small ones to try out."""

import pickle
from pathlib import Path

import torch


def load_model(source, save_path=""):
    """A wav2vec 2.0, HuBERT or WavLM model, by SpeechBrain's lobe.

    Arguments
    ---------
    source : str
        A folder, or a name of the hub.
    save_path : str
        Where what is downloaded is kept.

    Returns
    -------
    tuple
        The ``transformers`` model, and its feature extractor, which knows the
        sampling rate and whether waveforms are normalised.

    Raises
    ------
    ValueError
        If there is no such model, or it cannot be read.
    """
    _transformers()
    from speechbrain.integrations.huggingface.wav2vec2 import Wav2Vec2

    try:
        lobe = Wav2Vec2(source, save_path)
    except (OSError, ValueError, pickle.UnpicklingError) as fault:
        first = str(fault).strip().splitlines()[0]
        raise ValueError(
            f"source '{source}' is no folder with a model here "
            f"({Path.cwd()}), and cannot be had from the hub: {first}"
        ) from None
    return lobe.model, lobe.feature_extractor


def write_tiny(
    folder,
    kind,
    hidden_size=32,
    num_layers=2,
    conv_dim=16,
    feat_extract_norm="group",
    dropout=0.1,
    seed=0,
    **further,
):
    """Writes a small model with random weights as the hub would have it.

    To try out and to test what is meant for real ones, without a download.

    Arguments
    ---------
    folder : str or Path
    kind : str
        ``wav2vec2``, ``hubert`` or ``wavlm``.
    hidden_size, num_layers : int
        Of the Transformer.
    conv_dim : int
        Channels of the convolutions; seven (320 samples a frame, as in the
        published models), unless ``conv_kernel`` and ``conv_stride`` say
        otherwise.
    feat_extract_norm : str
        ``"group"`` as in the published base models, ``"layer"`` as in large
        ones.
    dropout : float
        Everywhere.
    seed : int
    **further
        Of the model's configuration.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tiny(folder, "wavlm")
    ...     model, extractor = load_model(folder)
    >>> model.config.hidden_size, extractor.sampling_rate
    (32, 16000)
    """
    transformers = _transformers()
    names = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
    if kind not in names:
        raise ValueError(f"kind is one of {', '.join(names)}, not '{kind}'")
    large = feat_extract_norm == "layer"
    settings = {
        "hidden_size": hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "intermediate_size": 4 * hidden_size,
        "conv_dim": (conv_dim,) * len(further.get("conv_kernel", range(7))),
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "feat_extract_norm": feat_extract_norm,
        "do_stable_layer_norm": large,
        "conv_bias": large,
        "hidden_dropout": dropout,
        "attention_dropout": dropout,
        "activation_dropout": dropout,
        "feat_proj_dropout": dropout,
        "mask_time_length": 4,
        "vocab_size": 32,
    }
    config = getattr(transformers, f"{names[kind]}Config")(
        **{**settings, **further}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{names[kind]}Model")(config)
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(
        do_normalize=large, return_attention_mask=large
    ).save_pretrained(folder)


def _transformers():
    try:
        import transformers
    except ImportError:
        raise ImportError(
            "models of the hub need transformers: install "
            "speechbrain-privacy[hf]"
        ) from None
    return transformers
