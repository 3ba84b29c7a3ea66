"""Where a number comes from: versions and git state."""

import os
import platform
import subprocess
from functools import partial
from importlib import metadata
from pathlib import Path

from speechbrain_privacy.dataio.settings import training_settings

#: SpeechBrain's own options that make another training.
RUN_OPTIONS = (
    "precision",
    "grad_accumulation_factor",
    "max_grad_norm",
    "skip_nonfinite_grads",
    "optimizer_step_limit",
    "debug",
    "debug_batches",
)
PACKAGES = (
    "speechbrain",
    "torch",
    "torchaudio",
    "numpy",
    "scipy",
    "scikit-learn",
)


def git_state():
    """Commit of this package's checkout, ``+dirty`` if changed; or ''."""
    here = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", *command],
                cwd=here,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for command in (
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+dirty" if changes else "")


def provenance():
    """Versions of everything a result depends on."""
    from speechbrain_privacy import __version__

    return {
        "speechbrain_privacy": __version__,
        "git": git_state(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
    }


def identity(brain, data, name, seed, output_folder):
    """Which model a result is of, and what it was trained and tested on.

    Arguments
    ---------
    brain : AdversarialBrain
    data : ASRData or SpeechData
    name : str
        Of the model, in tables.
    seed : int
        Of the training.
    output_folder : str

    Returns
    -------
    dict
    """
    return {
        "name": name,
        "seed": seed,
        "epochs": brain.epoch_counter.limit,
        "train": data.manifests["train"].fingerprint(),
        "test": data.manifests["test"].fingerprint(),
        "provenance": provenance(),
        "settings": {
            **training_settings(output_folder),
            **{
                f"run_opts.{option}": str(getattr(brain, option, None))
                for option in RUN_OPTIONS
            },
            # Each process has batches of its own: fewer, larger steps.
            "run_opts.processes": os.environ.get("WORLD_SIZE", "1"),
        },
    }


def settings_of(maker):
    """What something will be made with, by name, down to numbers.

    Arguments
    ---------
    maker : functools.partial, callable, dict, list or scalar
        As a YAML has it, ``!name:``.

    Returns
    -------
    dict, list, str or scalar
        To be written as JSON.

    Example
    -------
    >>> from functools import partial
    >>> settings_of({"a": partial(dict, epochs=2, inside=partial(list))})
    {'a': {'dict': {'epochs': 2, 'inside': {'list': {}}}}}
    >>> settings_of(partial(dict, [3], epochs=2))
    {'dict': {'epochs': 2, 'arguments': [[3]]}}
    """
    if isinstance(maker, partial):
        given = dict(maker.keywords)
        if maker.args:
            given["arguments"] = maker.args
        return {maker.func.__name__: settings_of(given)}
    if isinstance(maker, dict):
        return {name: settings_of(value) for name, value in maker.items()}
    if isinstance(maker, list | tuple):
        return [settings_of(value) for value in maker]
    if maker is None or isinstance(maker, str | int | float):
        return maker
    return getattr(maker, "__name__", type(maker).__name__)
