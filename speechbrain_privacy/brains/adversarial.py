"""The Brain that trains a model and its adversaries together.

One backward per batch: gradient reversal inside ``AdversaryEnsemble`` lets
the adversaries descend while the encoder ascends. One optimizer per role,
each zeroed and clipped at every step. Everything random in a step follows
from (seed, epoch, step, rank), so that a killed run resumes bit-equal.
"""

from contextlib import nullcontext

import speechbrain as sb
import torch
from speechbrain.utils.logger import get_logger

from speechbrain_privacy.brains import roles
from speechbrain_privacy.brains.checkpointing import RunningMeans, seed_step
from speechbrain_privacy.brains.taps import Taps, detached
from speechbrain_privacy.nnet.adversaries import AdversaryEnsemble
from speechbrain_privacy.nnet.schedules import Constant

logger = get_logger(__name__)

MODEL = "model"
ADVERSARIES = "adversaries"


class AdversarialBrain(sb.Brain):
    """Base of every Brain that attacks its own representation.

    A subclass calls ``self.attack(hidden, lengths, labels, stage)`` in its
    ``compute_forward`` and adds the result's ``loss`` to its own. Without
    a module named ``adversaries`` the same Brain trains a plain model.

    Arguments
    ---------
    modules : dict
        Name -> module. ``adversaries`` is an ``AdversaryEnsemble``, or
        ``TappedAdversaries`` where several layers are attacked; all others
        belong to the model.
    optimizers : dict
        Role (``model``, ``adversaries``) -> function from parameters to an
        optimizer (``!name:torch.optim.AdamW`` with its settings). Modules
        with ``lr_factors()`` may have parameters that learn more slowly.
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter
        Counts the epochs of ``fit``; schedules run over its limit.
    lr_schedules : dict, optional
        Role -> schedule (``nnet.schedules``) of its learning rate, as a
        factor of the optimizer's own. Default: constant.
    seed : int
        Seed of everything random within a step.
    adversary_steps : int
        Updates of the adversaries for each one of the model.
    n_classes : dict, optional
        Attribute -> number of classes, for adversaries that were made
        without knowing it.
    train_logger : ResumableTrainLogger, optional
    meter : EfficiencyMeter, optional
        Adds up what training costs, in the log and in ``efficiency()``;
        batches need ``sig``.
    hparams, run_opts, checkpointer
        As in ``speechbrain.Brain``.

    Example
    -------
    >>> from speechbrain.utils.epoch_loop import EpochCounter
    >>> from speechbrain_privacy.nnet.adversaries import Adversary
    >>> class Toy(AdversarialBrain):
    ...     def compute_forward(self, batch, stage):
    ...         hidden = self.modules.encoder(batch[0])
    ...         lengths = torch.ones(len(hidden))
    ...         labels = {"spk_id": batch[1]}
    ...         return hidden, self.attack(hidden, lengths, labels, stage)
    ...
    ...     def compute_objectives(self, outputs, batch, stage):
    ...         hidden, attacked = outputs
    ...         return hidden.square().mean() + attacked.loss
    >>> member = Adversary(3, "spk_id", n_classes=2, hidden=[4])
    >>> brain = Toy(
    ...     modules={
    ...         "encoder": torch.nn.Linear(5, 3),
    ...         "adversaries": AdversaryEnsemble([member]),
    ...     },
    ...     optimizers={"model": torch.optim.SGD, "adversaries": torch.optim.SGD},
    ...     epoch_counter=EpochCounter(1),
    ...     run_opts={"device": "cpu", "noprogressbar": True},
    ... )
    >>> brain.fit(
    ...     brain.epoch_counter,
    ...     [(torch.rand(4, 7, 5), torch.tensor([0, 1, 1, 0]))],
    ...     train_loader_kwargs={"batch_size": None},
    ... )
    >>> brain.optimizer_step
    1
    """

    def __init__(
        self,
        modules,
        optimizers,
        epoch_counter,
        lr_schedules=None,
        seed=0,
        adversary_steps=1,
        n_classes=None,
        train_logger=None,
        meter=None,
        hparams=None,
        run_opts=None,
        checkpointer=None,
    ):
        modules = dict(modules)
        modules.setdefault(ADVERSARIES, AdversaryEnsemble())
        if n_classes is not None:
            # Whatever was drawn before: a run that goes on draws less.
            seed_step(seed, 0, 0, 0)
            modules[ADVERSARIES].set_classes(n_classes)
        super().__init__(
            modules=modules,
            hparams=hparams or {},  # SpeechBrain's loaders look into it
            run_opts=run_opts,
            checkpointer=checkpointer,
        )
        self.optimizer_classes = optimizers
        self.epoch_counter = epoch_counter
        self.lr_schedules = lr_schedules or {}
        self.seed = seed
        if adversary_steps < 1:
            raise ValueError(
                f"adversary_steps is at least 1, got {adversary_steps}"
            )
        self.adversary_steps = adversary_steps
        self.spare_adversary_steps = 0  # left to do in the present batch
        self.warned = not any(True for _ in modules[ADVERSARIES].parameters())
        self.train_logger = train_logger
        self.meter = meter and meter.to(self.device)
        self.train_means = RunningMeans()
        self.taps = Taps(self.modules, modules[ADVERSARIES].taps)
        self.epoch = 0
        self.batches_in_epoch = 0
        if checkpointer is not None:
            checkpointer.add_recoverable("train_means", self.train_means)
            if meter is not None:
                checkpointer.add_recoverable("meter", meter.sums)
            # Restarted at random, adversaries would look like privacy gained.
            known = checkpointer.recoverables.values()
            if not any(modules[ADVERSARIES] is obj for obj in known):
                checkpointer.add_recoverable(ADVERSARIES, modules[ADVERSARIES])

    # Roles and optimizers

    def role_parameters(self):
        """Trainable parameters of each role: ``{role: [parameters]}``."""
        found = {MODEL: [], ADVERSARIES: []}
        for name, module in self.modules.items():
            role = ADVERSARIES if name == ADVERSARIES else MODEL
            found[role] += [p for p in module.parameters() if p.requires_grad]
        return {role: params for role, params in found.items() if params}

    def init_optimizers(self):
        """One optimizer per role, one group per factor of learning rates."""
        self.optimizers_dict = {}
        modules = [self.unwrapped(name) for name in self.modules]
        for role, params in self.role_parameters().items():
            if role not in self.optimizer_classes:
                raise KeyError(f"optimizers has no entry for role '{role}'")
            optimizer = roles.grouped(
                self.optimizer_classes[role], modules, params
            )
            self.optimizers_dict[role] = optimizer
            if self.checkpointer is not None:
                self.checkpointer.add_recoverable(
                    f"{role}_optimizer", optimizer
                )

    def optimizers_step(self):
        """A step of every optimizer, each clipped as a whole.

        As the parent's, which clips the first group of each alone.
        """
        optimizers = self.freeze_optimizers(self.optimizers_dict).values()
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
            roles.clip(optimizer, self.max_grad_norm)
        if not self.scaler.is_enabled() and self.skip_nonfinite_grads:
            self.check_gradients()
        for optimizer in optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    def unwrapped(self, name):
        """The module itself, without its DistributedDataParallel."""
        module = self.modules[name]
        return getattr(module, "module", module)

    def unwrap_modules(self):
        """Takes DistributedDataParallel off every module, after training.

        What follows then may run on one process without waiting for others.
        """
        for name in self.modules:
            self.modules[name] = self.unwrapped(name)

    # Progress: everything scheduled follows from epoch and step

    @property
    def progress(self):
        """Finished fraction of training at the present step, in [0, 1].

        The same for all batches whose gradients are accumulated: however many
        processes share them, a step is taken at the same rate.
        """
        batches = max(0, self.step - 1)
        batches -= batches % self.grad_accumulation_factor
        within = batches / max(1, self.batches_in_epoch)
        done = (self.epoch - 1 + within) / max(1, self.epoch_counter.limit)
        return min(1.0, max(0.0, done))

    def learning_rates(self):
        """Sets the learning rates; returns every role's highest one."""
        for role, optimizer in self.optimizers_dict.items():
            factor = self.lr_schedules.get(role, Constant())(self.progress)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        return roles.highest_rates(self.optimizers_dict)

    # Training

    def on_fit_start(self):
        """Prepares optimizers, recovers the last checkpoint, mends the log."""
        super().on_fit_start()
        if self.train_logger is not None:
            self.train_logger.rewind(self.epoch_counter.current)

    def make_dataloader(self, dataset, stage, **kwargs):
        """As the parent's; a batch sampler is told of every new epoch."""
        loader = super().make_dataloader(dataset, stage, **kwargs)
        if stage == sb.Stage.TRAIN and self.train_sampler is None:
            self.train_sampler = kwargs.get("batch_sampler")
        return loader

    def _fit_train(self, train_set, epoch, enable):
        self.epoch = epoch
        self.batches_in_epoch = len(train_set)
        super()._fit_train(train_set, epoch, enable)

    def _accumulation(self):
        """(first of its group?, last of its group?, batches in the group)."""
        factor = self.grad_accumulation_factor
        n_batches = self.batches_in_epoch
        if self.debug:
            n_batches = min(n_batches, self.debug_batches)
        place = (self.step - 1) % factor
        start = self.step - 1 - place
        size = min(factor, n_batches - start)
        return place == 0, place == size - 1, size

    def fit_batch(self, batch):
        """One batch forward and back; a step at the end of each group.

        Arguments
        ---------
        batch : PaddedBatch

        Returns
        -------
        torch.Tensor
            The detached loss.
        """
        first, last, size = self._accumulation()
        rank = self.rank if self.distributed_launch else 0
        seed_step(self.seed, self.epoch, self.step, rank)
        self.unwrapped(ADVERSARIES).set_progress(self.progress)
        self.learning_rates()
        # Extra adversary updates need their gradients for themselves.
        self.spare_adversary_steps = self.adversary_steps - 1 if first else 0
        self.on_fit_batch_start(batch, last)
        with self.meter.step(*batch.sig) if self.meter else nullcontext():
            with self.no_sync(not last):
                with self.training_ctx:
                    outputs = self.compute_forward(batch, sb.Stage.TRAIN)
                    loss = self.compute_objectives(
                        outputs, batch, sb.Stage.TRAIN
                    )
                self.check_loss_isfinite(loss)
                self.scaler.scale(loss / size).backward()
            if last:
                self.optimizers_step()
                self._reinitialise_adversaries()
        if self.meter is not None and not self.noprogressbar:
            self.meter.show()
        self.on_fit_batch_end(batch, outputs, loss, last)
        return loss.detach().cpu()

    def check_loss_isfinite(self, loss):
        """Stops before a loss that is not finite reaches the weights."""
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {loss.item()} in epoch {self.epoch}, batch "
                f"{self.step}: nothing of it was used; resume from the last "
                "checkpoint with a lower learning rate or full precision"
            )

    def finish_epoch(self, epoch, valid_stats, meta):
        """Writes a line of ``train_log.txt`` and a checkpoint.

        Arguments
        ---------
        epoch : int
        valid_stats : dict
            Name -> value on validation data; those of training are the
            Brain's ``train_stats``.
        meta : dict
            Stored with the checkpoint, beside the epoch.
        """
        rates = roles.highest_rates(self.optimizers_dict).items()
        rates = {f"lr {role}": rate for role, rate in rates}
        if any(True for _ in self.unwrapped(ADVERSARIES).parameters()):
            rates["reversal"] = self.unwrapped(ADVERSARIES).multiplier
        cost = self.meter.logged() if self.meter is not None else {}
        if self.train_logger is not None:
            told = {"epoch": epoch, **rates, **cost}
            self.train_logger.log_stats(told, self.train_stats, valid_stats)
        if self.checkpointer is not None:
            self.checkpointer.save_and_keep_only(
                meta={**meta, "epoch": epoch},
                num_to_keep=1,
                importance_keys=[],
            )

    def efficiency(self):
        """What training has cost: ``EfficiencyMeter.summary`` of the model.

        Every process must call this.
        """
        model = [
            self.unwrapped(name) for name in self.modules if name != ADVERSARIES
        ]
        return self.meter.summary(torch.nn.ModuleList(model))

    def finish_training_epoch(self, loss):
        """Gathers what training has logged in an epoch into ``train_stats``.

        Arguments
        ---------
        loss : float
            The mean of the whole loss.
        """
        self.unwrapped(ADVERSARIES).set_progress(self.progress)
        self.train_stats = {"loss": loss, **self.train_means.compute()}
        self.train_means.clear()
        if self.meter is not None:
            self.meter.hide()

    @staticmethod
    def attack_sums(attack):
        """Losses and hits of each adversary, for ``RunningMeans``."""
        sums = {}
        for name, out in attack.members.items():
            sums[f"{name} loss"] = (out.loss.detach() * out.count, out.count)
            if out.correct is not None:
                sums[f"{name} acc"] = (out.correct, out.count)
        return sums

    def _reinitialise_adversaries(self):
        renewed = self.unwrapped(ADVERSARIES).reinitialise(
            self.optimizer_step, self.seed
        )
        for parameter in renewed:
            self.optimizers_dict[ADVERSARIES].state.pop(parameter, None)

    def attack(self, hidden, lengths, labels, stage):
        """Lets the adversaries attack ``hidden``.

        Arguments
        ---------
        hidden : torch.Tensor
            ``[batch, time, dim]``; adversaries with taps attack these
            instead.
        lengths : torch.Tensor
            Relative lengths, ``[batch]``.
        labels : dict
            Attribute -> classes ``[batch]``, negative where unknown.
        stage : sb.Stage

        Returns
        -------
        EnsembleOutput
            Add its ``loss`` to the task loss.
        """
        if self.taps.paths:
            hidden = self.taps.take(hidden)
        if stage == sb.Stage.TRAIN:
            self.warned = self.warned or roles.tell_what_is_frozen(hidden)
            while self.spare_adversary_steps > 0:
                self.spare_adversary_steps -= 1
                self._adversary_step(detached(hidden), lengths, labels)
        return self.modules[ADVERSARIES](hidden, lengths, labels)

    def _adversary_step(self, hidden, lengths, labels):
        optimizer = self.optimizers_dict.get(ADVERSARIES)
        if optimizer is None:
            return
        with roles.always_synchronised(self.modules[ADVERSARIES]):
            loss = self.modules[ADVERSARIES](hidden, lengths, labels).loss
            self.scaler.scale(loss).backward()
        self.scaler.unscale_(optimizer)
        roles.clip(optimizer, self.max_grad_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        """Only between accumulation groups: no partial gradient is lost."""
        _, last, _ = self._accumulation()
        return last and super()._should_save_intra_epoch_ckpt(
            last_ckpt_time, steps_since_ckpt
        )
