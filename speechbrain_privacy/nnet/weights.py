"""Weights: in files, read without running any code, and in adapters."""

import pickle
from pathlib import Path

import torch
from speechbrain.nnet.adapters import LoRA
from speechbrain.utils.checkpoints import Checkpointer

#: Of a run: where its checkpoints are, and the encoder in them.
SAVED, ENCODER = "save", "encoder"
#: Among an encoder's: that it adds places, which older versions do not tell.
PLACES = "with_places"


def read_weights(path):
    """What a file's weights are, by name; no code in the file is run.

    Arguments
    ---------
    path : str or Path
        Written by ``torch.save`` of a ``state_dict``, or one of a run's
        ``milestones``.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it holds something else.
    """
    path = Path(path)
    if (path / SAVED).is_dir():
        raise FileNotFoundError(
            f"{path} is the folder of a run: give the encoder of its last "
            f"checkpoint, {last_parts(path)[ENCODER]}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there are no weights")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{path} holds more than weights: not read") from None
    except (RuntimeError, KeyError, EOFError, ValueError) as fault:
        raise ValueError(f"{path} holds no weights: {fault}") from None
    if isinstance(found, dict) and isinstance(found.get("state"), dict):
        found = found["state"]  # of a milestone, beside what it had cost
    if not isinstance(found, dict) or not all(
        isinstance(x, torch.Tensor) for x in found.values()
    ):
        raise ValueError(f"{path} holds no weights by name")
    return found


def last_parts(run):
    """Files of a run's last checkpoint.

    Arguments
    ---------
    run : str or Path
        Its output folder.

    Returns
    -------
    dict
        Name of what was saved -> path; ``encoder`` is among them.

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint of an encoder.
    """
    saved = Path(run) / SAVED
    found = Checkpointer(saved).find_checkpoint() if saved.is_dir() else None
    if found is None or ENCODER not in found.paramfiles:
        raise FileNotFoundError(f"{run} holds no checkpoint of an encoder")
    return found.paramfiles


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
    if PLACES in wanted:
        found.setdefault(PLACES, wanted[PLACES])
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


@torch.no_grad()
def merged_weights(model):
    """A model's weights without adapters, which become part of them.

    Source: Hu et al., "LoRA: low-rank adaptation of large language models",
    ICLR 2022, section 4.1.

    Arguments
    ---------
    model : torch.nn.Module
        Perhaps a ``speechbrain.nnet.adapters.AdaptedModel``.

    Returns
    -------
    dict
        By the names that they have without adapters.

    Raises
    ------
    ValueError
        If something that is not linear has an adapter.
    """
    model = getattr(model, "adapted_model", model)
    found = model.state_dict()
    for name, layer in model.named_modules():
        if not isinstance(layer, LoRA):
            continue
        if not isinstance(layer.pretrained_module, torch.nn.Linear):
            raise ValueError(
                f"{name} has an adapter and is not linear: they cannot "
                "become one"
            )
        down, up = layer.adapter_down_proj, layer.adapter_up_proj
        kept = layer.pretrained_module.state_dict()
        kept["weight"] = (
            kept["weight"] + layer.scaling * up.weight @ down.weight
        )
        for part in layer.state_dict():
            del found[f"{name}.{part}"]
        found |= {f"{name}.{part}": x for part, x in kept.items()}
    return found
