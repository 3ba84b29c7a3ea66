"""Energy that a training uses, by codecarbon. Needs the extra ``[energy]``."""

import logging
import os

import torch

#: What is counted: a process with its own accelerator, or all that the
#: machine does.
PROCESS, MACHINE = "process", "machine"
#: Parts of a machine.
PARTS = ("cpu", "gpu", "ram")
JOULES_PER_KWH = 3.6e6


class EnergyTracker:
    """Joules since the last reading.

    Where the processor has no counter that can be read (virtual machines),
    codecarbon estimates from load and rated power; ``method`` says so.

    Arguments
    ---------
    tracking : str
        ``process``: of this process, and of the accelerator it uses;
        ``machine``: of all processes, counted by the first one of a machine.

    Raises
    ------
    ImportError
        Without codecarbon, in one sentence.

    Example
    -------
    >>> EnergyTracker("house")
    Traceback (most recent call last):
        ...
    ValueError: energy is counted of a 'process' or 'machine', not of 'house'
    """

    def __init__(self, tracking=PROCESS):
        if tracking not in (PROCESS, MACHINE):
            raise ValueError(
                f"energy is counted of a '{PROCESS}' or '{MACHINE}', not of "
                f"'{tracking}'"
            )
        try:
            import codecarbon
        except ImportError:
            raise ImportError(
                "energy is counted by codecarbon: "
                'pip install "speechbrain-privacy[energy]"'
            ) from None
        self._library = codecarbon
        self.tracking = tracking
        self._tracker = None
        self._parts = ["nothing yet"]

    @property
    def counts(self):
        """Whether this process counts, or another one for it."""
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        return self.tracking == PROCESS or first

    @property
    def method(self):
        """How energy is known, e.g. ``CPU(Cpu Load)`` from the load and
        rated power of a processor."""
        version, parts = self._library.__version__, ", ".join(self._parts)
        return f"codecarbon {version}, {self.tracking}: {parts}"

    def start(self):
        """Begins to count, if it has not."""
        if self._tracker is not None or not self.counts:
            return
        own = self.tracking == PROCESS and torch.cuda.is_available()
        logging.getLogger("codecarbon").setLevel(logging.ERROR)
        # Offline, nothing is sent. The country is for carbon alone, which
        # depends on more than what is known here and is left out.
        self._tracker = self._library.OfflineEmissionsTracker(
            country_iso_code="USA",
            tracking_mode=self.tracking,
            gpu_ids=[torch.cuda.current_device()] if own else None,
            save_to_file=False,
            allow_multiple_runs=True,
            log_level="error",
        )
        self._tracker.start_task()
        self._parts = self._tracker._conf.get("hardware", ["unknown"])

    def read(self):
        """What was used since ``start`` or the last call.

        Returns
        -------
        dict
            ``cpu_joules``, ``gpu_joules``, ``ram_joules`` and their sum
            ``joules``; empty where nothing is counted.
        """
        if self._tracker is None:
            return {}
        spent = self._tracker.stop_task()
        self._tracker.start_task()
        found = {
            f"{part}_joules": JOULES_PER_KWH * getattr(spent, f"{part}_energy")
            for part in PARTS
        }
        return {**found, "joules": sum(found.values())}

    def stop(self):
        """Counts no longer; ``start`` begins again."""
        if self._tracker is not None:
            self._tracker.stop_task()
            self._tracker.stop()
            self._tracker = None
