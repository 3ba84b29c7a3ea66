"""Adversaries that try to read an attribute off an encoder's output.

``Adversary`` is one attacker. ``AdversaryEnsemble`` is many at once behind
gradient reversal: every attacker descends on its own loss, the encoder
receives ``task gradient - sum_k w_k * attacker gradient``. In someone else's
Brain it is three lines::

    labels = {"spk_id": speakers}
    out = self.modules.adversaries(hidden, lengths, labels, progress)
    loss = task_loss + out.loss

Source of the principle: Ganin et al., JMLR 2016; for speakers, Srivastava
et al., "Privacy-Preserving Adversarial Representation Learning in ASR",
Interspeech 2019. The ensemble and its combinations are this package's own.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)

from speechbrain_privacy.nnet.adversary import Adversary, MemberOutput
from speechbrain_privacy.nnet.gradient_reversal import reverse_gradient
from speechbrain_privacy.nnet.schedules import Constant

__all__ = ["Adversary", "AdversaryEnsemble", "EnsembleOutput", "MemberOutput"]

COMBINATIONS = ("mean", "worst", "sampled")


@dataclass
class EnsembleOutput:
    """``loss`` to add to the task loss, and every member's part of it."""

    loss: torch.Tensor
    members: dict[str, MemberOutput] = field(default_factory=dict)


@register_checkpoint_hooks
class AdversaryEnsemble(torch.nn.Module):
    """Many attackers on several attributes behind one gradient reversal.

    Arguments
    ---------
    members : dict or list of Adversary
        The attackers; a list is named by position. An empty ensemble is
        valid, costs nothing and adds nothing: a plain model.
    weights : dict, optional
        Attribute -> weight of the reversed gradient at full strength.
        Default 1 for every attribute of a member.
    combination : str
        How the members of one attribute share that weight. ``mean``: in
        proportion to their own ``weight``. ``worst``: a soft maximum over
        the members that succeed best (lowest loss relative to guessing;
        one that does worse than guessing counts as guessing).
        ``sampled``: one member, drawn per call. The members themselves
        always all learn.
    temperature : float
        Of the soft maximum in ``worst``; small is harder.
    schedule : callable, optional
        Progress in [0, 1] -> multiplier of all weights
        (``nnet.schedules``). Default: constant 1.
    reinit_every : int
        Every so many optimizer steps one member, in turn, starts over
        from random weights, so that the encoder cannot settle against one
        set of attackers. 0: never.
    against : list of str, optional
        Attributes to attack: members and weights of others are left out.
        Default: all.

    Example
    -------
    >>> ensemble = AdversaryEnsemble(
    ...     members=[
    ...         Adversary(16, "spk_id", n_classes=5, channels=[8]),
    ...         Adversary(16, "gender", n_classes=2, pooling="mean"),
    ...     ],
    ...     weights={"spk_id": 0.3, "gender": 0.1},
    ... )
    >>> hidden = torch.rand(4, 20, 16, requires_grad=True)
    >>> labels = {
    ...     "spk_id": torch.tensor([0, 1, 2, 4]),
    ...     "gender": torch.tensor([0, 1, -1, 1]),
    ... }
    >>> out = ensemble(hidden, torch.ones(4), labels)
    >>> out.loss.backward()
    >>> sorted(out.members)
    ['0_spk_id', '1_gender']
    """

    #: It attacks what it is given (``TappedAdversaries`` says where else).
    taps = {}

    def __init__(
        self,
        members=(),
        weights=None,
        combination="mean",
        temperature=0.1,
        schedule=None,
        reinit_every=0,
        against=None,
    ):
        super().__init__()
        if combination not in COMBINATIONS:
            raise ValueError(
                f"combination is one of {', '.join(COMBINATIONS)}; "
                f"got '{combination}'"
            )
        if not isinstance(members, dict):
            members = {
                f"{i}_{member.attribute}": member
                for i, member in enumerate(members)
            }
        weights = dict(weights or {})
        if against is not None:
            known = {m.attribute for m in members.values()}
            if missing := sorted(set(against) - known):
                raise ValueError(
                    f"no member attacks {missing}; "
                    f"members attack {sorted(known)}"
                )
            members = {
                n: m for n, m in members.items() if m.attribute in against
            }
            weights = {a: w for a, w in weights.items() if a in against}
        self.members = torch.nn.ModuleDict(members)
        self.attributes = sorted({m.attribute for m in members.values()})
        for attribute in self.attributes:
            if not any(
                m.weight > 0
                for m in members.values()
                if m.attribute == attribute
            ):
                raise ValueError(
                    f"every member on '{attribute}' has weight 0: leave them "
                    f"out, or set weights[{attribute!r}] to 0"
                )
        unread = sorted(set(weights) - set(self.attributes))
        if unread and members:
            raise ValueError(
                f"weights name {unread}, which no member attacks; "
                f"members attack {self.attributes}"
            )
        if any(weight < 0 for weight in weights.values()):
            raise ValueError(f"weights must be >= 0, got {weights}")
        self.weights = {a: weights.get(a, 1.0) for a in self.attributes}
        self.combination = combination
        self.temperature = temperature
        self.schedule = schedule if schedule is not None else Constant()
        self.multiplier = self.schedule(0.0)
        self.reinit_every = reinit_every

    @mark_as_saver
    def save(self, path):
        """Writes the weights; of a plain model there are none, and
        SpeechBrain would warn of that with every checkpoint."""
        torch.save(self.state_dict(), path)

    @mark_as_loader
    def load(self, path, end_of_epoch=True):
        """Reads what ``save`` wrote."""
        del end_of_epoch
        self.load_state_dict(
            torch.load(path, map_location="cpu", weights_only=True)
        )

    def set_classes(self, n_classes):
        """Tells members their number of classes.

        Arguments
        ---------
        n_classes : dict
            Attribute -> number of classes.
        """
        for member in self.members.values():
            if member.attribute not in n_classes:
                raise ValueError(
                    f"no classes given for '{member.attribute}'; "
                    f"given: {sorted(n_classes)}"
                )
            member.set_classes(n_classes[member.attribute])

    def set_progress(self, progress):
        """Moves the schedule to ``progress`` in [0, 1]; returns its value."""
        self.multiplier = self.schedule(progress)
        return self.multiplier

    def reinitialise(self, step, seed=0):
        """Starts the member whose turn it is over from random weights.

        The draw depends on ``step`` and ``seed`` alone: every process of a
        distributed run and every resumed run makes the same one.

        Arguments
        ---------
        step : int
            Optimizer steps taken so far.
        seed : int
            Seed of the run.

        Returns
        -------
        list of torch.nn.Parameter
            The renewed parameters (empty when nobody's turn has come);
            the caller forgets their optimizer state.
        """
        if not self.members or self.reinit_every <= 0 or step <= 0:
            return []
        turn, rest = divmod(step, self.reinit_every)
        if rest:
            return []
        member = list(self.members.values())[(turn - 1) % len(self.members)]
        devices = sorted(
            {p.device.index for p in member.parameters() if p.is_cuda}
        )
        with torch.random.fork_rng(devices):
            torch.manual_seed((seed * 1_000_003 + step) % 2**63)
            member.reset_parameters()
        return list(member.parameters())

    def _shares(self, outputs):
        """How members of one attribute share its weight; sums to one."""
        own = torch.tensor(
            [self.members[name].weight for name in outputs],
            device=next(iter(outputs.values())).loss.device,
        )
        if self.combination == "sampled":
            if not self.training:
                return own / own.sum()
            picked = torch.multinomial(own, 1)
            return F.one_hot(picked[0], len(own)).to(own.dtype)
        if self.combination == "worst":
            failure = torch.stack(
                [self._failure(name, out) for name, out in outputs.items()]
            )
            own = own * (-failure / self.temperature).softmax(0)
        return own / own.sum()

    def forward(self, hidden, lengths, labels, progress=None):
        """Attacks a batch with every member.

        Arguments
        ---------
        hidden : torch.Tensor
            Representation, ``[batch, time, dim]``.
        lengths : torch.Tensor
            Relative lengths, ``[batch]``.
        labels : dict
            Attribute -> classes ``[batch]``, negative where unknown.
        progress : float, optional
            As for ``set_progress``, which it calls.

        Returns
        -------
        EnsembleOutput
            ``loss`` is the sum of the members' losses. Its gradient trains
            every member at full strength and reaches ``hidden`` reversed,
            weighted by ``weights``, the shares and the schedule.
        """
        if progress is not None:
            self.set_progress(progress)
        output = EnsembleOutput(hidden.new_zeros(()))
        for attribute in self.attributes:
            if attribute not in labels:
                raise KeyError(
                    f"no labels for attribute '{attribute}'; "
                    f"given: {sorted(labels)}"
                )
            names = [
                name
                for name, member in self.members.items()
                if member.attribute == attribute
            ]
            # Filled in below, read when the gradient comes back.
            strength = torch.zeros(len(names), device=hidden.device)
            outputs = {
                name: self.members[name](
                    reverse_gradient(hidden, strength[k]),
                    lengths,
                    labels[attribute],
                )
                for k, name in enumerate(names)
            }
            shares = self._shares(outputs)
            strength.copy_(self.weights[attribute] * self.multiplier * shares)
            output.members.update(outputs)
            output.loss = output.loss + sum(o.loss for o in outputs.values())
        return output

    def _failure(self, name, output):
        """Loss over that of guessing: 0 is certainty, 1 a guess or worse.

        Whatever the number of classes or pairs; 1 where there was nothing
        to tell apart.
        """
        member = self.members[name]
        if member.closed_set:
            options = output.count.new_tensor(member.output.out_features)
            told = output.count > 0
        else:
            options = 2 * output.count - 1
            told = output.count > 1
        guess = options.clamp(min=2).log()
        relative = (output.loss.detach() / guess).clamp(max=1.0)
        return torch.where(told, relative, torch.ones_like(relative))
