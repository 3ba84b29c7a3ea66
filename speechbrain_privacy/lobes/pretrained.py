"""wav2vec 2.0, HuBERT and WavLM of the hub or a folder, as encoders.

SpeechBrain's lobe loads them; this one makes what an utterance becomes
independent of the batch around it, and every layer something that adversaries
and audits can tap. Needs the extra ``[hf]``.
"""

import hashlib
import math

import torch
from speechbrain.nnet.adapters import AdaptedModel, LoRA
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)

from speechbrain_privacy.integrations.huggingface import load_model
from speechbrain_privacy.nnet.layers import (
    LayerSum,
    UnpaddedGroupNorm,
    normalised,
)
from speechbrain_privacy.nnet.pooling import frame_counts, frames_mask
from speechbrain_privacy.nnet.weights import merged_weights

LAST, WEIGHTED = "last", "weighted"
#: In a checkpoint: which weights it began with.
SOURCE = "source"
#: Of waveforms: what published models were trained with, and what
#: SpeechBrain's lobe adds.
NORM_EPS = 1e-5
#: What LoRA adapts, unless told otherwise.
ATTENTION = ("encoder.layers.*.attention.[qv]_proj",)
#: And where attention reads the weights of its projections itself.
DENSE = ("encoder.layers.*.feed_forward.*_dense",)


@register_checkpoint_hooks
class PretrainedEncoder(torch.nn.Module):
    """Waveforms -> hidden frames of a pre-trained model.

    An utterance gives the same frames alone and in a padded batch: waveforms
    are normalised, and the first convolution's group norm is taken, over
    what is not padding (``Wav2Vec2`` takes both over all of it).

    Each layer's frames pass through ``layers.0`` (the convolutions, projected)
    to ``layers.N``, where ``Tap("encoder.layers.6")`` or an adversary finds
    them.

    A checkpoint holds what training changes, and no more: the rest comes from
    ``source`` again.

    Arguments
    ---------
    source : str
        A folder, or a name of the hub.
    save_path : str
        Where what is downloaded is kept.
    freeze : bool
        Keeps all weights of the model as they are (with ``lora``: all but
        the adapters', which is always so).
    freeze_feature_extractor : bool
        Keeps those of the convolutions.
    output : str or int
        ``"last"``, ``"weighted"`` (a learnt sum of all layers), or the number
        of a layer: the layers above it are left out.
    lora : dict, optional
        If there are any: settings of ``speechbrain.nnet.adapters.LoRA``
        (``rank``, ``alpha``), and perhaps ``target_layers``, shell patterns of
        module names; default: queries and values of every attention (WavLM,
        whose attention takes no adapters: the feed-forward layers).
    gradient_checkpointing : bool
        Computes layers again in the backward pass instead of keeping them:
        less memory, about a third more time.
    spec_augment : bool
        Hides spans of latents in training, as the model's own settings say;
        not in a batch that is shorter than a span.
    lr_factor : float
        Of the learning rate of the optimizer, for the model's weights.
    lr_decay : float
        Of that, for each layer further from the output.
    sample_rate : int
        Of the waveforms, in Hz; it must be the model's.
    d_model : int, optional
        Channels that are expected; an error where they are not the model's.

    Example
    -------
    >>> import tempfile
    >>> from speechbrain_privacy.integrations.huggingface import write_tiny
    >>> folder = tempfile.TemporaryDirectory()
    >>> write_tiny(folder.name, "hubert", hidden_size=16, num_layers=2)
    >>> encoder = PretrainedEncoder(folder.name, output="weighted")
    >>> hidden, lengths = encoder(torch.rand(2, 4000), torch.tensor([1.0, 0.6]))
    >>> hidden.shape, encoder.output_size
    (torch.Size([2, 12, 16]), 16)
    """

    def __init__(
        self,
        source,
        save_path="",
        freeze=False,
        freeze_feature_extractor=True,
        output=LAST,
        lora=None,
        gradient_checkpointing=False,
        spec_augment=False,
        lr_factor=1.0,
        lr_decay=1.0,
        sample_rate=16000,
        d_model=None,
    ):
        super().__init__()
        if not lr_factor > 0 or not 0 < lr_decay <= 1:
            raise ValueError(
                "lr_factor is above 0 and lr_decay in (0, 1], not "
                f"{lr_factor} and {lr_decay}"
            )
        model, extractor = load_model(source, save_path)
        if extractor.sampling_rate != sample_rate:
            raise ValueError(
                f"{source} hears {extractor.sampling_rate} samples a second; "
                f"sample_rate says {sample_rate}"
            )
        self.sample_rate = sample_rate
        self.extractor = extractor
        self.fingerprint = _fingerprint(model)
        self.normalize = extractor.do_normalize
        config = model.config
        # A layer that is left out at random leaves DDP waiting for it.
        self.layerdrop, config.layerdrop = config.layerdrop, 0.0
        n_layers = _cut(model, output, config.num_hidden_layers)
        self.output_size = config.hidden_size
        if d_model not in (None, self.output_size):
            raise ValueError(
                f"{source} has {self.output_size} channels; d_model says "
                f"{d_model}"
            )
        self.kernels = tuple(zip(config.conv_kernel, config.conv_stride))
        self.lr_factor, self.lr_decay = lr_factor, lr_decay
        #: The norm that some models have above all layers, others below.
        self.topmost = (
            ("encoder.layer_norm.weight", "encoder.layer_norm.bias")
            if config.do_stable_layer_norm
            else ()
        )
        if config.feat_extract_norm == "group":
            first = model.feature_extractor.conv_layers[0]
            first.layer_norm = UnpaddedGroupNorm(first.layer_norm)
        self.spec_augment = spec_augment
        # What never stands in for anything would have no gradient.
        hides = spec_augment and config.mask_time_prob > 0
        if not hides and hasattr(model, "masked_spec_embed"):
            model.masked_spec_embed.requires_grad_(False)
        if freeze:
            model.requires_grad_(False)
        elif freeze_feature_extractor:
            model.feature_extractor._freeze_parameters()
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if lora:
            settings = {"rank": 8, "alpha": 16.0, **lora}
            usual = DENSE if config.model_type == "wavlm" else ATTENTION
            targets = settings.pop("target_layers", usual)
            model = AdaptedModel(
                model,
                adapter_class=LoRA,
                target_layers=list(targets),
                adapter_kwargs=settings,
            )
            if not model.replace_layers:
                raise ValueError(
                    f"lora: no layer of {source} is called {list(targets)}"
                )
        self.frozen = freeze and not lora
        self.whole = output in (LAST, WEIGHTED)
        self.model = model
        self.sum = LayerSum(1 + n_layers) if output == WEIGHTED else None
        self.layers = torch.nn.ModuleList(
            torch.nn.Identity() for _ in range(1 + n_layers)
        )

    @property
    def _reach(self):
        """Samples that a frame is made of, and from one to the next."""
        reach, step = 1, 1
        for kernel, stride in self.kernels:
            reach += (kernel - 1) * step
            step *= stride
        return reach, step

    @property
    def grid(self):
        """Seconds between frames, and of the middle of the first."""
        reach, step = self._reach
        return step / self.sample_rate, reach / 2 / self.sample_rate

    @property
    def tenths(self):
        """Frames of 10 ms from one of its own to the next, and the first of
        them that its first frame is made of.

        Raises
        ------
        ValueError
            If its frames are no multiple of 10 ms apart.
        """
        step, middle = self.grid
        stride = round(100 * step)
        if not stride or abs(100 * step - stride) > 1e-6:
            raise ValueError(
                f"frames of this model are {1000 * step:g} ms apart; units "
                "and boundaries come every 10 ms"
            )
        return stride, math.ceil(100 * (middle - step / 2))

    def frames(self, samples, convolutions=None):
        """Frames of each utterance, of its samples; one at least. Behind so
        many convolutions; default: all."""
        for kernel, stride in self.kernels[:convolutions]:
            samples = (samples - kernel).div(stride, rounding_mode="floor") + 1
        return samples.clamp(min=1)

    def forward(self, wavs, lengths, hide=None):
        """Encodes a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``.
        lengths : torch.Tensor
            Relative lengths, ``[batch]``.
        hide : torch.Tensor, optional
            Boolean ``[batch, frames]``: where the model's learnt mask stands
            in for what the convolutions give.

        Returns
        -------
        hidden : torch.Tensor
            ``[batch, frames, output_size]``.
        lengths : torch.Tensor
            Relative lengths of ``hidden``, ``[batch]``.

        Raises
        ------
        ValueError
            If the batch is shorter than a frame.
        """
        samples = frame_counts(lengths, wavs.shape[1])
        shortest, _ = self._reach
        if wavs.shape[1] < shortest:
            raise ValueError(
                f"the longest utterance of a batch has {wavs.shape[1]} "
                f"samples, and the model's first frame needs {shortest}"
            )
        valid = frames_mask(samples, wavs.shape[1])
        if self.normalize:
            wavs = normalised(wavs, samples, NORM_EPS)
        wavs = wavs.masked_fill(~valid, 0.0)
        norm = self.model.feature_extractor.conv_layers[0].layer_norm
        if isinstance(norm, UnpaddedGroupNorm):
            norm.counts = self.frames(samples, 1)
        # Of an utterance without a whole frame the first one is heard.
        valid = frames_mask(samples.clamp(min=shortest), wavs.shape[1])
        if self.frozen:
            with torch.no_grad():
                hidden = self._run(wavs, valid, hide)
        else:
            hidden = self._run(wavs, valid, hide)
        counts = self.frames(samples)
        hidden = [tap(x) for tap, x in zip(self.layers, hidden, strict=True)]
        out = hidden[-1] if self.sum is None else self.sum(hidden)
        return out, counts.to(out.device) / out.shape[1]

    def _run(self, wavs, valid, hide):
        config = self.model.config
        n_frames = self.frames(torch.tensor([wavs.shape[1]]))[0]
        config.apply_spec_augment = hide is not None or bool(
            self.spec_augment and n_frames > config.mask_time_length
        )
        out = self.model(
            wavs,
            attention_mask=valid.long(),
            mask_time_indices=hide,
            output_hidden_states=True,
        )
        # Some models norm the last layer's output once more.
        return [*out.hidden_states[:-1], out.last_hidden_state]

    def train(self, mode=True):
        """As always, but what is frozen draws no dropout."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def lr_factors(self):
        """How much slower than its optimizer each parameter learns.

        Returns
        -------
        list of tuple
            ``(factor, [parameters])``, of those that learn.
        """
        top = len(self.layers) - 1
        found = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            factor = 1.0
            if name.startswith("model."):
                _, _, inside = name.partition("encoder.layers.")
                layer = int(inside.split(".")[0]) + 1 if inside else 0
                if name.endswith(self.topmost):
                    layer = top
                factor = self.lr_factor * self.lr_decay ** (top - layer)
            found.setdefault(factor, []).append(parameter)
        return list(found.items())

    def write(self, folder):
        """Writes the model as the hub would have it, for any ``source``.

        Adapters become part of what they adapt; the learnt sum of layers,
        which no such model has, is left out.

        Raises
        ------
        ValueError
            If layers have been left out.
        """
        if not self.whole:
            raise ValueError(
                "only a model with all its layers can be written: output: "
                f"{LAST} or {WEIGHTED}"
            )
        model = getattr(self.model, "adapted_model", self.model)
        model.config.apply_spec_augment = True
        model.config.layerdrop = self.layerdrop
        model.save_pretrained(folder, state_dict=merged_weights(self.model))
        self.extractor.save_pretrained(folder)
        model.config.layerdrop = 0.0

    @mark_as_saver
    def save(self, path):
        """Writes the weights that training changes."""
        torch.save({SOURCE: self.fingerprint, **self._learnt()}, path)

    @mark_as_loader
    def load(self, path, end_of_epoch=True):
        """Reads what ``save`` has written; no code in the file is run."""
        del end_of_epoch
        found = torch.load(path, map_location="cpu", weights_only=True)
        wanted = {SOURCE, *self._learnt()}
        if found.keys() != wanted:
            odd = sorted(found.keys() ^ wanted)[0]
            raise ValueError(
                f"{path} is of other settings: '{odd}' learns in one of the "
                "two, and not in the other"
            )
        if not torch.equal(found.pop(SOURCE), self.fingerprint):
            raise ValueError(
                f"{path} began with other weights than those of the source "
                "now: what it has not learnt is gone"
            )
        self.load_state_dict(found, strict=False)

    def _learnt(self):
        learns = {n for n, p in self.named_parameters() if p.requires_grad}
        return {n: x for n, x in self.state_dict().items() if n in learns}


def _fingerprint(model):
    """Eight bytes of a hash of all weights."""
    digest = hashlib.sha256()
    for name, x in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(x.detach().cpu().contiguous().view(-1).numpy().data)
    return torch.tensor(list(digest.digest()[:8]), dtype=torch.uint8)


def _cut(model, output, n_layers):
    """Leaves out layers above ``output``; returns how many there are."""
    if output in (LAST, WEIGHTED):
        return n_layers
    if not isinstance(output, int) or not 1 <= output <= n_layers:
        raise ValueError(
            f"output is '{LAST}', '{WEIGHTED}' or a layer from 1 to "
            f"{n_layers}, not {output!r}"
        )
    if output < n_layers:
        model.encoder.layers = model.encoder.layers[:output]
        if model.config.do_stable_layer_norm:
            # It was learnt for the last layer's output.
            model.encoder.layer_norm = torch.nn.Identity()
    return output
