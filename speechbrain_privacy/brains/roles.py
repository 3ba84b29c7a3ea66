"""Which parameters learn together, how fast, and with whom."""

from contextlib import contextmanager

import torch
from speechbrain.utils.logger import get_logger

logger = get_logger(__name__)


def by_factor(modules, parameters):
    """Parameters by how much slower than their role they learn.

    Arguments
    ---------
    modules : iterable of torch.nn.Module
        Those with ``lr_factors()``, wherever they are inside, say so for
        their own: a list of ``(factor, [parameters])``.
    parameters : iterable of torch.nn.Parameter
        Of one role.

    Returns
    -------
    dict
        Factor -> parameters, each of which is there once; 1 where nobody
        says otherwise.

    Example
    -------
    >>> class Slow(torch.nn.Linear):
    ...     def lr_factors(self):
    ...         return [(0.1, [self.weight])]
    >>> slow = Slow(2, 2)
    >>> {f: len(p) for f, p in by_factor([slow], slow.parameters()).items()}
    {0.1: 1, 1.0: 1}
    >>> within = torch.nn.Sequential(slow, torch.nn.ReLU())
    >>> sorted(by_factor([within], within.parameters()))
    [0.1, 1.0]
    """
    factors = {}
    for module in torch.nn.ModuleList(modules).modules():
        if hasattr(module, "lr_factors"):
            for factor, some in module.lr_factors():
                factors.update(dict.fromkeys(some, factor))
    found = {}
    for parameter in parameters:
        found.setdefault(factors.get(parameter, 1.0), []).append(parameter)
    return found


def grouped(make, modules, parameters):
    """One optimizer of a role, with a group for each factor of its rate.

    Arguments
    ---------
    make : callable
        Parameters -> optimizer.
    modules, parameters
        As in ``by_factor``.

    Returns
    -------
    torch.optim.Optimizer
        With ``initial_lr`` in each group, for schedules.
    """
    groups = by_factor(modules, parameters)
    optimizer = make([{"params": some} for some in groups.values()])
    for group, factor in zip(optimizer.param_groups, groups, strict=True):
        group["initial_lr"] = group["lr"] = group["lr"] * factor
    return optimizer


def highest_rates(optimizers):
    """Role -> optimizer becomes role -> the highest rate of its groups."""
    return {
        role: max(group["lr"] for group in optimizer.param_groups)
        for role, optimizer in optimizers.items()
    }


def clip(optimizer, max_norm):
    """Bounds the norm of an optimizer's gradients, over all of its groups.

    Arguments
    ---------
    optimizer : torch.optim.Optimizer
    max_norm : float
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(params, max_norm)


@contextmanager
def always_synchronised(module):
    """Gradients of ``module`` meet over processes even within no_sync.

    Arguments
    ---------
    module : torch.nn.Module
        Perhaps a DistributedDataParallel.
    """
    if not hasattr(module, "require_backward_grad_sync"):
        yield
        return
    before = module.require_backward_grad_sync
    module.require_backward_grad_sync = True
    try:
        yield
    finally:
        module.require_backward_grad_sync = before


def tell_what_is_frozen(hidden):
    """Warns of adversaries that attack what does not learn.

    Arguments
    ---------
    hidden : torch.Tensor or dict
        In training; of each tap, if there are any.

    Returns
    -------
    bool
        True: it has been looked at.
    """
    several = hidden if isinstance(hidden, dict) else {"": hidden}
    for name, x in several.items():
        if not x.requires_grad:
            logger.warning(
                "adversaries attack what does not learn: nothing is hidden "
                f"by them ({name or 'is the encoder frozen?'})"
            )
    return True
