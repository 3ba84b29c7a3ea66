"""Runs recipes as a user does: ``python train.py hparams/x.yaml``."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: A model that trains in a second; every option of the real one is on.
TINY = (
    "--model={d_model: 16, num_layers: 1, d_ffn: 16, dropout: 0.1}",
    "--attack={epochs: 8, batch_size: 4}",
    "--batch_seconds=4",
    "--device=cpu",
    "--noprogressbar",
)


def run(recipe, yaml, *arguments, before="", processes=1, timeout=200):
    """Runs a recipe; returns the finished process.

    Arguments
    ---------
    recipe : str
        Folder below ``recipes/``.
    yaml : str
        Name below ``hparams/``, without suffix.
    *arguments : str
        For ``train.py``.
    before : str
        Python that runs first, in the same process.
    processes : int
        More than one: under ``torchrun``, with gloo.
    timeout : float
        In seconds.
    """
    folder = ROOT / "recipes" / recipe
    script = [str(folder / "train.py")]
    if before:
        code = (
            f"{before}\nimport runpy, sys\n"
            f"sys.path.insert(0, {str(folder)!r})\n"
            "sys.argv = sys.argv[1:]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        script = ["-c", code, *script]
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone"]
        launcher += [f"--nproc_per_node={processes}"]
        arguments = (*arguments, "--distributed_backend=gloo")
    return subprocess.run(
        [*launcher, *script, f"hparams/{yaml}.yaml", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def own_corpus(toy_corpus):
    """Flags that make a recipe read the toy corpus."""
    folder, paths = toy_corpus
    return (
        f"--data_folder={folder}",
        *(f"--{split}_manifest={path}" for split, path in paths.items()),
    )
