"""CTC speech recognition, attacked while it trains."""

import csv
from dataclasses import dataclass

import speechbrain as sb
import torch
from speechbrain.decoders.ctc import ctc_greedy_decode
from speechbrain.utils.distributed import if_main_process

from speechbrain_privacy.brains.adversarial import AdversarialBrain
from speechbrain_privacy.brains.checkpointing import RunningMeans
from speechbrain_privacy.dataio.files import replaced_file
from speechbrain_privacy.dataio.tokenizer import BLANK
from speechbrain_privacy.lobes.frontends import extract
from speechbrain_privacy.metrics.error_rates import (
    ErrorCounts,
    character_errors,
    word_errors,
)
from speechbrain_privacy.nnet.adversaries import EnsembleOutput


@dataclass
class CTCOutput:
    """One batch through the model. ``labels`` and ``tokens`` are the batch's
    own, replicated where augmentation has replicated the audio;
    ``bottleneck`` is the loss of a bottleneck, if there is one."""

    log_probs: torch.Tensor
    lengths: torch.Tensor
    tokens: torch.Tensor
    token_lengths: torch.Tensor
    attack: EnsembleOutput
    bottleneck: torch.Tensor | None = None


class CTCBrain(AdversarialBrain):
    """waveform -> features -> encoder -> CTC, and adversaries on the encoder.

    Arguments
    ---------
    modules : dict
        ``features`` (waveform -> features), ``normalize``, ``encoder``
        (features, lengths -> hidden, lengths), ``head`` (hidden -> logits),
        perhaps ``bottleneck`` between them (``nnet.bottlenecks``) and, for an
        adversarial model, ``adversaries`` of what leaves it. The Brain adds
        ``log_probs``, whose output is the model's.
    tokenizer : Tokenizer
    attributes : list of str
        Names of the columns of ``batch.labels``, in order.
    wav_augment : speechbrain.augment.augmenter.Augmenter, optional
        Applied to training waveforms; labels are replicated with them.
    fea_augment : speechbrain.augment.augmenter.Augmenter, optional
        The same for features (after normalisation).
    augment_from : float
        Progress of training, in [0, 1), at which augmentation begins: CTC
        finds its first alignments sooner on clean audio.
    searcher : callable, optional
        ``f(log_probs, lengths) -> per utterance a list of hypotheses with
        .text`` (SpeechBrain's CTC beam searchers), built from the
        tokenizer's pieces: ``searcher(blank_index=..., vocab_list=...)``.
        Default: greedy.
    **kwargs
        As in ``AdversarialBrain``.
    """

    def __init__(
        self,
        modules,
        tokenizer,
        attributes,
        wav_augment=None,
        fea_augment=None,
        augment_from=0.0,
        searcher=None,
        **kwargs,
    ):
        # A module, so that an audit can tap what the model really puts out.
        modules = {**modules, "log_probs": torch.nn.LogSoftmax(dim=-1)}
        super().__init__(modules=modules, **kwargs)
        self.tokenizer = tokenizer
        self.attributes = list(attributes)
        self.wav_augment = wav_augment
        self.fea_augment = fea_augment
        self.augment_from = augment_from
        self.searcher = searcher
        self.transcripts = []

    # Forward and loss

    def compute_forward(self, batch, stage):
        """Runs the model and its adversaries.

        Arguments
        ---------
        batch : PaddedBatch
            With ``sig``, ``tokens`` and ``labels``.
        stage : sb.Stage

        Returns
        -------
        CTCOutput
        """
        batch = batch.to(self.device)
        x, lengths = batch.sig
        tokens, token_lengths = batch.tokens
        replicated = (tokens, token_lengths, batch.labels.data)
        augment = stage == sb.Stage.TRAIN and self.progress >= self.augment_from
        if augment and self.wav_augment is not None:
            x, lengths = self.wav_augment(x, lengths)
            replicated = self.wav_augment.replicate_multiple_labels(*replicated)
        x, lengths = extract(self.modules.features, x, lengths)
        x = self.modules.normalize(x, lengths)
        if augment and self.fea_augment is not None:
            x, lengths = self.fea_augment(x, lengths)
            replicated = self.fea_augment.replicate_multiple_labels(*replicated)
        tokens, token_lengths, labels = replicated
        hidden, lengths = self.modules.encoder(x, lengths)
        passing = None
        if "bottleneck" in self.modules:
            hidden, passing = self.modules.bottleneck(hidden, lengths)
        # The head may be larger than a character set turns out to be.
        logits = self.modules.head(hidden)[..., : len(self.tokenizer)]
        attack = self.attack(
            hidden, lengths, dict(zip(self.attributes, labels.T)), stage
        )
        return CTCOutput(
            self.modules.log_probs(logits.float()),
            lengths,
            tokens,
            token_lengths,
            attack,
            passing,
        )

    def represent(self, batch):
        """Runs the model, to be tapped.

        Arguments
        ---------
        batch : PaddedBatch

        Returns
        -------
        tuple
            Frames of the encoder, and their relative lengths ``[batch]``.
        """
        out = self.compute_forward(batch, sb.Stage.TEST)
        return out.log_probs.shape[1], out.lengths

    def compute_objectives(self, outputs, batch, stage):
        """CTC loss plus, in training, the adversaries' loss.

        Arguments
        ---------
        outputs : CTCOutput
        batch : PaddedBatch
        stage : sb.Stage

        Returns
        -------
        torch.Tensor
        """
        task = sb.nnet.losses.ctc_loss(
            outputs.log_probs,
            outputs.tokens,
            outputs.lengths,
            outputs.token_lengths,
            blank_index=BLANK,
        )
        attack = outputs.attack
        if stage == sb.Stage.TRAIN:
            n = len(outputs.tokens)
            self.train_means.add({"ctc": (task.detach() * n, n)})
            self.train_means.add(self.attack_sums(attack))
            loss = task + attack.loss
            if outputs.bottleneck is not None:
                passing = outputs.bottleneck
                self.train_means.add({"bottleneck": (passing.detach() * n, n)})
                loss = loss + passing
            return loss
        self._transcribe(batch, outputs)
        return task

    def _transcribe(self, batch, outputs):
        if self.searcher is None:
            ids = ctc_greedy_decode(outputs.log_probs, outputs.lengths, BLANK)
            texts = [self.tokenizer.decode(i) for i in ids]
        else:
            found = self.search(outputs.log_probs, outputs.lengths)
            texts = [hypotheses[0].text.strip() for hypotheses in found]
        self.transcripts += zip(batch.id, batch.wrd, texts)

    def search(self, log_probs, lengths):
        """Beam search over the tokenizer's pieces (validation and test)."""
        if not hasattr(self, "_search"):
            self._search = self.searcher(
                blank_index=BLANK, vocab_list=self.tokenizer.pieces
            )
        return self._search(log_probs, lengths)

    # Stages

    def on_stage_start(self, stage, epoch=None):
        """Forgets the transcripts of the stage before."""
        del stage, epoch
        self.transcripts = []

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Logs, and saves a checkpoint after each validation.

        Arguments
        ---------
        stage : sb.Stage
        stage_loss : float
        epoch : int
        """
        if stage == sb.Stage.TRAIN:
            self.finish_training_epoch(stage_loss)
            return
        errors = self.word_errors()
        stats = {
            "loss": stage_loss,
            "WER": errors.rate,
            "CER": self.character_errors().rate,
        }
        if stage == sb.Stage.VALID:
            self.finish_epoch(epoch, stats, {"WER": errors.rate})

    # Results

    def word_errors(self):
        """Word errors of the transcripts of the present stage."""
        return sum(
            (word_errors(ref, hyp) for _, ref, hyp in self.transcripts),
            ErrorCounts(),
        )

    def character_errors(self):
        """Character errors of the transcripts of the present stage."""
        return sum(
            (character_errors(ref, hyp) for _, ref, hyp in self.transcripts),
            ErrorCounts(),
        )

    def write_transcripts(self, path):
        """Writes ``ID, reference, hypothesis`` of the present stage."""
        if not if_main_process():
            return
        with replaced_file(path, newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["ID", "reference", "hypothesis"])
            writer.writerows(self.transcripts)

    def adversary_accuracy(self, dataset, **loader_kwargs):
        """How often the training adversaries are right on a data set.

        Arguments
        ---------
        dataset : Dataset
            Utterances of training speakers that training did not see.
        **loader_kwargs
            For the data loader.

        Returns
        -------
        dict
            Member -> fraction of its labelled utterances; members without
            classes or labelled utterances are left out.
        """
        loader = self.make_dataloader(
            dataset, sb.Stage.TEST, ckpt_prefix=None, **loader_kwargs
        )
        means = RunningMeans()
        self.modules.eval()
        with torch.no_grad(), self.evaluation_ctx:
            for batch in loader:
                out = self.compute_forward(batch, sb.Stage.TEST)
                means.add(self.attack_sums(out.attack))
        return {
            name.removesuffix(" acc"): value
            for name, value in means.compute(over_processes=False).items()
            if name.endswith(" acc")
        }
