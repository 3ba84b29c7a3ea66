"""What layers of a model put out, kept for whoever attacks them."""

from speechbrain_privacy.nnet.tapped import module_at


class Taps:
    """Records the outputs of modules from one forward pass to the next.

    Arguments
    ---------
    modules : torch.nn.Module
    paths : dict
        Name -> dotted path below ``modules``; the first of a tuple is kept.

    Example
    -------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3))
    >>> taps = Taps(model, {"first": "0"})
    >>> hidden = model(torch.rand(4, 5, 2))
    >>> taps.take(hidden)["first"].shape
    torch.Size([4, 5, 3])
    """

    def __init__(self, modules, paths):
        self.paths = dict(paths)
        self._latest = {}
        for name, path in self.paths.items():
            try:
                module = module_at(modules, path)
            except ValueError as fault:
                raise ValueError(f"adversaries at '{name}': {fault}") from None
            module.register_forward_hook(self._recorder(name))

    def _recorder(self, name):
        def keep(module, inputs, output):
            first = output[0] if isinstance(output, tuple) else output
            self._latest[name] = first

        return keep

    def take(self, hidden):
        """What was recorded, which is then forgotten.

        Arguments
        ---------
        hidden : torch.Tensor
            ``[batch, time, dim]`` of the encoder, at whose rate all must be.

        Returns
        -------
        dict
            Name -> ``[batch, time, dim]``.
        """
        found, self._latest = self._latest, {}
        for name, path in self.paths.items():
            if name not in found:
                raise ValueError(
                    f"adversaries at '{name}': '{path}' did not run"
                )
            if found[name].shape[:2] != hidden.shape[:2]:
                raise ValueError(
                    f"adversaries at '{name}': '{path}' puts out "
                    f"{list(found[name].shape)}, the encoder "
                    f"{list(hidden.shape)}: utterances and frames must agree"
                )
        return found


def detached(hidden):
    """A tensor, or a dict of them, without what they were computed from."""
    if isinstance(hidden, dict):
        return {name: x.detach() for name, x in hidden.items()}
    return hidden.detach()
