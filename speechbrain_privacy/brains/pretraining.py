"""Self-supervised pre-training, attacked while it trains if asked for."""

import speechbrain as sb
import torch
from speechbrain.utils.distributed import run_on_main

from speechbrain_privacy.brains.adversarial import AdversarialBrain
from speechbrain_privacy.brains.checkpointing import RunningMeans, seed_step
from speechbrain_privacy.lobes.frontends import extract


class PretrainingBrain(AdversarialBrain):
    """waveform -> features -> objective on hidden frames, and adversaries.

    Arguments
    ---------
    modules : dict
        ``features`` (waveform -> features), ``normalize``, ``objective``
        (e.g. ``lobes.bestrq.BestRQ``) and, for an adversarial model,
        ``adversaries``.
    attributes : list of str
        Names of the columns of ``batch.labels``, in order.
    boundaries : BoundaryDetector, optional
        For mask policies that listen to where phones change.
    vad : EnergyVad, optional
        For mask policies that spare silence.
    wav_augment : speechbrain.augment.augmenter.Augmenter, optional
        Applied to training waveforms; labels are replicated with them.
    clean_targets : bool
        What is predicted, and where phones begin, is that of the waveforms
        before they were augmented, and so is what is perturbed;
        augmentation must keep their timing.
    perturbation : torch.nn.Module, optional
        Waveforms -> the same in other voices, with the same timing, for
        objectives that compare both.
    descriptors : Descriptors, optional
        Waveforms -> what objectives predict of them.
    milestones : Milestones, optional
        Encoders kept on the way.
    **kwargs
        As in ``AdversarialBrain``.
    """

    def __init__(
        self,
        modules,
        attributes=(),
        boundaries=None,
        vad=None,
        wav_augment=None,
        clean_targets=False,
        perturbation=None,
        descriptors=None,
        milestones=None,
        **kwargs,
    ):
        super().__init__(modules=modules, **kwargs)
        self.attributes = list(attributes)
        self.boundaries = boundaries and boundaries.to(self.device)
        self.vad = vad and vad.to(self.device)
        self.wav_augment = wav_augment
        self.clean_targets = clean_targets
        self.perturbation = perturbation and perturbation.to(self.device)
        self.descriptors = descriptors and descriptors.to(self.device)
        self.milestones = milestones
        self.valid_means = RunningMeans()

    def compute_forward(self, batch, stage):
        """Runs the objective and its adversaries.

        Arguments
        ---------
        batch : PaddedBatch
            With ``sig``; ``labels`` where there are attributes, ``begins``
            where boundaries come with the data, and ``codes`` where the
            targets do.
        stage : sb.Stage

        Returns
        -------
        tuple
            ``(ObjectiveOutput, EnsembleOutput)``
        """
        batch = batch.to(self.device)
        x, lengths = batch.sig
        clean = x
        labels = torch.zeros((len(x), 0), dtype=torch.long, device=x.device)
        if self.attributes:
            labels = batch.labels.data
        codes = batch.codes.data if hasattr(batch, "codes") else None
        if stage != sb.Stage.TRAIN:
            # The same masks in every epoch, so that losses can be compared.
            seed_step(self.seed, 0, self.step, 0)
        elif self.wav_augment is not None:
            x, lengths = self.wav_augment(x, lengths)
            labels = self.wav_augment.replicate_labels(labels)
            if codes is not None:
                codes = self.wav_augment.replicate_labels(codes)
        if not self.clean_targets:
            clean = x
        elif clean.shape != x.shape:
            raise ValueError(
                "augmentation that changes the timing leaves no clean_targets"
            )
        if hasattr(batch, "begins"):
            if self.wav_augment is not None and not self.clean_targets:
                raise ValueError(
                    "augmentation may move phones away from the boundaries "
                    "that came with the data: give a detector instead"
                )
            begins = batch.begins.data
        else:
            begins = self.boundaries and self.boundaries(clean, lengths)[0]
        speech = self.vad and self.vad(clean, lengths)[0]
        given = {"codes": codes} if codes is not None else {}
        if self.perturbation is not None:
            with torch.no_grad():
                other = self.perturbation(clean)
            given["other"] = self._features(other, lengths)[0]
        if self.descriptors is not None:
            given["targets"] = self.descriptors(clean)
        objective = self.unwrapped("objective")
        if clean is not x and getattr(objective, "hears_clean", True):
            given["clean"] = self._features(clean, lengths)[0]
        x, lengths = self._features(x, lengths)
        out = self.modules.objective(x, lengths, begins, speech, **given)
        # Each mask of an utterance is a representation of its speaker.
        masks = len(out.hidden) // max(1, len(labels))
        labels = labels.repeat_interleave(masks, dim=0)
        labels = dict(zip(self.attributes, labels.T, strict=True))
        return out, self.attack(out.hidden, out.lengths, labels, stage)

    def _features(self, wavs, lengths):
        """Normalised features, and their relative lengths."""
        x, lengths = extract(self.modules.features, wavs, lengths)
        return self.modules.normalize(x, lengths), lengths

    def represent(self, batch):
        """Encodes a batch with nothing hidden, to be tapped.

        Arguments
        ---------
        batch : PaddedBatch

        Returns
        -------
        tuple
            Frames of the encoder, and their relative lengths ``[batch]``.
        """
        x, lengths = batch.to(self.device).sig
        x, lengths = self._features(x, lengths)
        hidden, lengths = self.unwrapped("objective").network.encoder(
            x, lengths
        )
        return hidden.shape[1], lengths

    def compute_objectives(self, outputs, batch, stage):
        """The objective's loss plus, in training, the adversaries'.

        Arguments
        ---------
        outputs : tuple
            Of ``compute_forward``.
        batch : PaddedBatch
        stage : sb.Stage

        Returns
        -------
        torch.Tensor
        """
        out, attack = outputs
        means = self.train_means
        if stage != sb.Stage.TRAIN:
            means = self.valid_means
        measured = {"hidden": out.loss.detach(), **out.measures}
        means.add({n: (x * out.count, out.count) for n, x in measured.items()})
        means.add({"acc": (out.correct, out.count)})
        if stage != sb.Stage.TRAIN:
            return out.loss
        means.add(self.attack_sums(attack))
        return out.loss + attack.loss

    def on_stage_start(self, stage, epoch=None):
        """Starts counting afresh."""
        del epoch
        if stage != sb.Stage.TRAIN:
            self.valid_means.clear()

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
        # Not sharded over processes: each has seen all of it.
        self.valid_stats = self.valid_means.compute(over_processes=False)
        if stage == sb.Stage.VALID:
            if self.milestones is not None:
                cost = self.meter.totals() if self.meter is not None else {}
                encoder = self.unwrapped("objective").network.encoder
                run_on_main(self.milestones.keep, args=[epoch, encoder, cost])
            self.finish_epoch(epoch, self.valid_stats, self.valid_stats)
