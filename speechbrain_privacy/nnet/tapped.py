"""Adversaries at several places of a model at once."""

import torch

from speechbrain_privacy.nnet.adversaries import EnsembleOutput


def module_at(modules, path):
    """A module inside another, or one sentence what there is instead.

    Arguments
    ---------
    modules : torch.nn.Module
    path : str
        Dotted.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        If there is none.

    Example
    -------
    >>> module_at(torch.nn.ModuleDict({"a": torch.nn.Identity()}), "a")
    Identity()
    """
    module, way = modules, []
    for part in path.split("."):
        inside = dict(module.named_children())
        if part not in inside:
            where = ".".join(way) or "the model"
            raise ValueError(
                f"the model has no module '{path}'; {where} has "
                f"{', '.join(inside) or 'no parts'}"
            )
        module = inside[part]
        way.append(part)
    return module


class TappedAdversaries(torch.nn.Module):
    """One ``AdversaryEnsemble`` for each of several layers.

    Who protects one layer invites attackers to read another. An
    ``AdversarialBrain`` gives each ensemble what its tap puts out; elsewhere,
    call it with ``{name: hidden}``.

    Arguments
    ---------
    ensembles : dict
        Name -> ``AdversaryEnsemble``.
    taps : dict
        Name -> dotted path below the Brain's modules, whose output (or the
        first of a tuple) is ``[batch, time, dim]`` at the encoder's rate.

    Example
    -------
    >>> from speechbrain_privacy.nnet.adversaries import (
    ...     Adversary,
    ...     AdversaryEnsemble,
    ... )
    >>> both = TappedAdversaries(
    ...     ensembles={
    ...         name: AdversaryEnsemble([Adversary(8, "spk_id", n_classes=2)])
    ...         for name in ("middle", "last")
    ...     },
    ...     taps={"middle": "encoder.layers.6", "last": "encoder"},
    ... )
    >>> hidden = {"middle": torch.rand(3, 5, 8), "last": torch.rand(3, 5, 8)}
    >>> labels = {"spk_id": torch.tensor([0, 1, 1])}
    >>> sorted(both(hidden, torch.ones(3), labels).members)
    ['last.0_spk_id', 'middle.0_spk_id']
    """

    def __init__(self, ensembles, taps):
        super().__init__()
        if ensembles.keys() != taps.keys() or not taps:
            raise ValueError(
                "every ensemble needs a tap of its name: ensembles are "
                f"{sorted(ensembles)}, taps {sorted(taps)}"
            )
        self.ensembles = torch.nn.ModuleDict(ensembles)
        self.taps = dict(taps)

    @property
    def multiplier(self):
        """Of the weights at present: the largest of all ensembles."""
        return max(some.multiplier for some in self.ensembles.values())

    def set_classes(self, n_classes):
        """As ``AdversaryEnsemble.set_classes``, of all."""
        for ensemble in self.ensembles.values():
            ensemble.set_classes(n_classes)

    def set_progress(self, progress):
        """As ``AdversaryEnsemble.set_progress``, of all."""
        for ensemble in self.ensembles.values():
            ensemble.set_progress(progress)
        return self.multiplier

    def reinitialise(self, step, seed=0):
        """As ``AdversaryEnsemble.reinitialise``, of all."""
        return [
            parameter
            for place, ensemble in enumerate(self.ensembles.values())
            for parameter in ensemble.reinitialise(step, seed + place)
        ]

    def forward(self, hidden, lengths, labels, progress=None):
        """Attacks every place.

        Arguments
        ---------
        hidden : dict
            Name -> ``[batch, time, dim]``.
        lengths : torch.Tensor
            Relative, ``[batch]``, the same for all.
        labels : dict
            Attribute -> classes ``[batch]``, negative where unknown.
        progress : float, optional

        Returns
        -------
        EnsembleOutput
            Of all; members are called ``tap.member``.
        """
        loss, members = 0.0, {}
        for name, ensemble in self.ensembles.items():
            out = ensemble(hidden[name], lengths, labels, progress)
            loss = loss + out.loss
            members.update({f"{name}.{m}": x for m, x in out.members.items()})
        return EnsembleOutput(loss, members)
