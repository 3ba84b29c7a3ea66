"""Weights in files, read without running any code."""

import pickle
from pathlib import Path

import torch


def read_weights(path):
    """What a file's weights are, by name; no code in the file is run.

    Arguments
    ---------
    path : str or Path
        Written by ``torch.save`` of a ``state_dict``.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there are no weights")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{path} holds more than weights: not read") from None
    except (RuntimeError, KeyError, EOFError, ValueError) as fault:
        raise ValueError(f"{path} holds no weights: {fault}") from None
    if not isinstance(found, dict) or not all(
        isinstance(x, torch.Tensor) for x in found.values()
    ):
        raise ValueError(f"{path} holds no weights by name")
    return found


def load_weights(module, path):
    """Puts a file's weights into a module.

    Arguments
    ---------
    module : torch.nn.Module
    path : str or Path
        As in ``read_weights``.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is of another architecture.
    """
    found, wanted = read_weights(path), module.state_dict()
    for name in sorted(wanted.keys() | found.keys()):
        shapes = [
            tuple(some[name].shape) if name in some else "missing"
            for some in (found, wanted)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{path} is of another architecture: {name} is {shapes[0]} "
                f"there and {shapes[1]} here"
            )
    module.load_state_dict(found)
