"""What a run needs to come back from SIGKILL exactly as it was."""

import json
import os
import random
import shutil
from functools import partial

import numpy as np
import torch
from speechbrain.utils.checkpoints import (
    Checkpointer,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
    main_process_only,
)
from speechbrain.utils.train_logger import FileTrainLogger


class AtomicCheckpointer(Checkpointer):
    """A checkpointer whose checkpoints exist whole or not at all.

    The parent writes a checkpoint's meta file first; a run that dies before
    the parameters follow leaves a checkpoint that is found and cannot be
    loaded. Here everything is written beside and renamed at the end.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> saver = AtomicCheckpointer(folder, {"layer": torch.nn.Linear(1, 1)})
    >>> saver.save_checkpoint().path.parent == folder
    True
    """

    PARTIAL = ".partial"

    def save_checkpoint(self, *args, **kwargs):
        """As the parent's; arguments and result are the same."""
        if if_main_process():
            partial = self.checkpoints_dir / self.PARTIAL
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
        saved = super().save_checkpoint(*args, **kwargs)
        if saved is not None:  # the main process
            path = self.checkpoints_dir / saved.path.name
            os.replace(saved.path, path)
        # Every process must find the same checkpoints from here on: what to
        # delete is decided by each, and deleted together.
        ddp_barrier()
        if saved is None:
            return None
        return saved._replace(
            path=path,
            paramfiles={
                name: path / file.name
                for name, file in saved.paramfiles.items()
            },
        )

    def _new_checkpoint_dirpath(self):
        return self._beside(super()._new_checkpoint_dirpath())

    def _custom_checkpoint_dirpath(self, name):
        return self._beside(super()._custom_checkpoint_dirpath(name))

    def _beside(self, path):
        return path.parent / self.PARTIAL / path.name


def seed_step(seed, epoch, step, rank):
    """Seeds torch, numpy and Python for one training step.

    Dropout, masks and augmentations of a step then depend on its position
    alone, so a resumed run needs no generator state from its checkpoint.

    Arguments
    ---------
    seed, epoch, step, rank : int
        Seed of the run and place of the step.

    Example
    -------
    >>> seed_step(1, 2, 3, 0)
    >>> a = torch.rand(1)
    >>> seed_step(1, 2, 3, 0)
    >>> a == torch.rand(1)
    tensor([True])
    """
    mixed = np.random.SeedSequence([seed, epoch, step, rank])
    words = mixed.generate_state(3, np.uint32)
    torch.manual_seed((int(words[0]) << 31) ^ int(words[1]))
    np.random.seed(words[2])
    random.seed(int(words[1]))


class ResumableTrainLogger(FileTrainLogger):
    """``train_log.txt`` that a resumed run continues without repetition.

    Arguments
    ---------
    save_file : str
        The log.
    precision : int
        Decimals of a value.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train_log.txt"
    >>> log = ResumableTrainLogger(path)
    >>> for epoch in (1, 2, 3):
    ...     log.log_stats({"epoch": epoch}, {"loss": 0.5}, verbose=False)
    >>> log.rewind(1)
    >>> path.read_text()
    'epoch: 1 - train loss: 5.00e-01\\n'
    """

    @main_process_only
    def rewind(self, epoch):
        """Drops everything that was written after ``epoch`` was complete."""
        if not os.path.isfile(self.save_file):
            return
        with open(self.save_file, encoding="utf-8") as file:
            lines = file.readlines()
        kept = [line for line in lines if self._within(line, epoch)]
        temporary = f"{self.save_file}.partial"
        with open(temporary, "w", encoding="utf-8") as file:
            file.writelines(kept)
        os.replace(temporary, self.save_file)

    @staticmethod
    def _within(line, epoch):
        head = line.split(",")[0].split(" - ")[0]
        name, _, number = head.partition(": ")
        return (
            name == "epoch"
            and line.endswith("\n")
            and number.isdigit()
            and int(number) <= epoch
        )


# Every process takes part in saving: the sums of all are pooled.
@partial(register_checkpoint_hooks, save_on_main_only=False)
class RunningMeans:
    """Means of named values over an epoch, kept across a resume.

    Example
    -------
    >>> means = RunningMeans()
    >>> means.add({"loss": (3.0, 1)})
    >>> means.add({"loss": (1.0, 3)})
    >>> means.compute()
    {'loss': 1.0}
    """

    def __init__(self):
        self.sums = {}

    def add(self, values):
        """Adds ``{name: (sum, count)}``; tensors stay on their device."""
        for name, pair in values.items():
            pair = [torch.as_tensor(x, dtype=torch.float64) for x in pair]
            old = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = (pair[0] + old[0], pair[1] + old[1])

    def local(self):
        """The sums of this process."""
        return {
            name: (float(total), float(count))
            for name, (total, count) in self.sums.items()
        }

    def pooled(self):
        """The sums over all processes, which must all call this."""
        if not torch.distributed.is_initialized():
            return self.local()
        gathered = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(gathered, self.local())
        pooled = RunningMeans()
        for sums in gathered:
            pooled.add(sums)
        return pooled.local()

    def compute(self, over_processes=True):
        """``{name: mean}``; leaves out empty ones.

        Arguments
        ---------
        over_processes : bool
            Pool over all processes (which must all call this), or not.
        """
        sums = self.pooled() if over_processes else self.local()
        return {
            name: total / count
            for name, (total, count) in sums.items()
            if count
        }

    def clear(self):
        """Forgets everything."""
        self.sums = {}

    @mark_as_saver
    def save(self, path):
        """Writes the sums of all processes (JSON keeps floats exactly)."""
        sums = self.pooled()
        if if_main_process():
            with open(path, "w", encoding="utf-8") as file:
                json.dump(sums, file)

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Reads the sums back, on the main process alone."""
        del end_of_epoch
        self.clear()
        if if_main_process():
            with open(path, encoding="utf-8") as file:
                self.add(json.load(file))
