"""A run's settings: what may be given, and what must stay when it goes on."""

import difflib
from pathlib import Path

from hyperpyyaml import resolve_references
from ruamel.yaml import YAML

#: What a run that goes on may have otherwise: how far, where the data are, and
#: what is asked of it afterwards.
FREE = {
    "number_of_epochs",
    "epoch_counter",
    "num_workers",
    "ckpt_interval_minutes",
    "data_folder",
    "librispeech_folder",
    "audio_folder",
    "prepare",
    "alignments",
    "rates",
    "searcher",
    "attack",
    "audit",
    "taps",
    # What is attacked afterwards; where adversaries are is told elsewhere.
    "layer",
    "probe",
    "reader",
    "reader_epochs",
}


#: What repetitions of a training may have otherwise, beside what ``FREE`` says
#: of data and of what is asked afterwards, wherever it is in the YAML.
REPEATED = {
    "name",
    "seed",
    "__set_seed",
    "milestones",
    "kept",
    "meter",
    "learnt_from",
    # Where things lie; the data are known by their fingerprints.
    "alignments",
    "path",
    "save_path",
    "save_folder",
    "save_file",
    "checkpoints_dir",
    "train_log",
    "manifest_folder",
    *(f"{x}_manifest" for x in ("train", "valid", "test", "seen")),
    *(f"{x}_manifest" for x in ("learn", "probe")),
}
#: Encoders that this training goes on with have seeds of their own.
ENCODER, OTHER_ENCODER = ".ckpt", "<encoder>"

#: Folders that may be written otherwise, or have moved.
MOVABLE = ("output_folder", "data_folder")


def check_settings(hparams_file, overrides, output_folder):
    """Refuses what would be taken for another run, before anything is written.

    Arguments
    ---------
    hparams_file : str
    overrides : str or dict
        As ``speechbrain.parse_arguments`` gives them.
    output_folder : str

    Raises
    ------
    ValueError
        If the folder holds checkpoints of other settings: they would be taken
        for these.
    """
    folder = Path(output_folder)
    before = folder / "hyperparams.yaml"
    if before.is_file() and any(folder.glob("save/CKPT*")):
        with open(hparams_file, encoding="utf-8") as file:
            now = _settings(resolve_references(file, overrides))
        known = YAML().load(before.read_text())
        if later := sorted(set(_given(overrides)) - set(known) - FREE):
            raise ValueError(
                f"{folder} holds a training of another recipe, or version, "
                f"that had no {later[0]}: give another --output_folder"
            )
        first = _settings(before.read_text())
        before, after = (_epochs(some) for some in (first, now))
        if after < before:
            raise ValueError(
                f"{folder} holds a training of {before:g} epochs, which may "
                f"become more, not {after:g}: give another --output_folder"
            )
        for name, value in first.items():
            if name.split(".")[0] in FREE:
                continue
            if now.get(name, value) != value:
                raise ValueError(
                    f"{folder} holds a training with {name} {value}, not "
                    f"{now[name]}: give another --output_folder"
                )


def _epochs(settings):
    try:
        return float(settings["number_of_epochs"])
    except (KeyError, ValueError):  # refused elsewhere, if it is wrong
        return float("inf")


def training_settings(output_folder):
    """What a run was trained with, to tell repetitions from other trainings.

    Arguments
    ---------
    output_folder : str or Path
        With the ``hyperparams.yaml`` that was saved.

    Returns
    -------
    dict
        Dotted path -> value, both as text: without seeds, folders, names, and
        what is asked of the model afterwards. Of weights that it began with
        only that there were some.
    """
    text = (Path(output_folder) / "hyperparams.yaml").read_text("utf-8")
    asked = FREE - {"number_of_epochs", "epoch_counter"}
    found = {}
    for name, value in _settings(text).items():
        parts = name.split(".")
        if parts[0] in asked or REPEATED & set(parts):
            continue
        if value.startswith(tuple(f"<{folder}>" for folder in MOVABLE)):
            continue
        if value.endswith(ENCODER):
            value = OTHER_ENCODER
        elif parts[-1] == "source" and Path(value).is_dir():
            value = Path(value).name  # wherever it lies
        found[name] = value
    return found


def check_overrides(hparams_file, overrides):
    """Refuses what a recipe, or a block in it, does not have.

    Arguments
    ---------
    hparams_file : str
    overrides : str or dict
        As ``speechbrain.parse_arguments`` gives them.

    Raises
    ------
    ValueError
        It names what is there.
    """
    overrides = _given(overrides)
    path = Path(hparams_file)
    tree = YAML().load(path.read_text(encoding="utf-8"))
    for name, inside in overrides.items():
        if name not in tree:
            close = difflib.get_close_matches(name, tree)
            known = close or [x for x in tree if not x.startswith("_")]
            raise ValueError(
                f"--{name} is none of the values of {path}: "
                f"{'do you mean ' if close else ''}{', '.join(known)}"
                f"{'?' if close else ''}"
            )
        node = tree.get(name)
        if not isinstance(inside, dict) or node is None:
            _check_number(f"--{name}", node, inside)
            continue
        known = dict(node) if isinstance(node, dict) else {}
        tag = str(getattr(node, "tag", "") and node.tag.value or "")
        if tag.startswith("!include:"):
            block = path.parent / tag.removeprefix("!include:")
            known = YAML().load(block.read_text(encoding="utf-8")) | known
        elif tag:
            continue  # an object takes what its constructor takes
        for key in inside:
            if key not in known:
                raise ValueError(
                    f"--{name}: '{key}' is none of its values: "
                    f"{', '.join(sorted(known))}"
                )
            _check_number(f"--{name}: {key}", known[key], inside[key])


def _check_number(name, default, given):
    """What is a number by default is no word."""
    number = isinstance(default, int | float) and not isinstance(default, bool)
    if number and isinstance(given, str):
        raise ValueError(f"{name} is '{given}', not a number as {default} is")


def _given(overrides):
    if isinstance(overrides, str):
        return YAML().load(overrides) or {}
    return overrides


def _settings(text):
    """A YAML -> ``{dotted path: scalar}``; what lies below the run's folder or
    the data's is named by that, however the folder is written."""
    found = flat(YAML().load(text))
    for root in MOVABLE:
        folder = found.get(root)
        if folder:
            for name, value in found.items():
                if value == folder or value.startswith(f"{folder}/"):
                    found[name] = f"<{root}>{value[len(folder) :]}"
    return found


def flat(node, path="", seen=None):
    """A tree -> ``{dotted path: scalar}``; a list of scalars is one, and what
    is referred to stands where it was first."""
    seen = {} if seen is None else seen
    if not isinstance(node, dict | list):
        return {path: str(getattr(node, "value", node))}
    if isinstance(node, dict):
        if id(node) in seen:
            return {}
        if not node and path:
            return {path: "{}"}
        seen[id(node)] = node
        items = node.items()
    elif any(isinstance(inside, dict | list) for inside in node):
        items = enumerate(node)
    else:
        inside = [str(getattr(value, "value", value)) for value in node]
        return {path: f"[{', '.join(inside)}]"}
    found = {}
    for key, value in items:
        found |= flat(value, f"{path}.{key}" if path else str(key), seen)
    return found
