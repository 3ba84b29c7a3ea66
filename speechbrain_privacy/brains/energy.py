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
    codecarbon estimates from load and rated power; ``method`` says so. A
    counter (RAPL) knows no processes: it is read by the first process of a
    machine, whatever is asked for. Memory is modelled.

    Arguments
    ---------
    tracking : str
        ``process``: of this process, and of the accelerator it uses;
        ``machine``: of all processes, counted by the first one of a machine.

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
        self.tracking = tracking
        self.method = "nothing was counted"
        self._tracker = None
        self._parts = PARTS

    def start(self, device="cpu"):
        """Begins to count, if it has not.

        Arguments
        ---------
        device : str or torch.device
            What this process computes on.

        Raises
        ------
        ImportError
            Without codecarbon, in one sentence.
        """
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        if self._tracker is not None or not (first or self.tracking == PROCESS):
            return
        try:
            import codecarbon
        except ImportError:
            raise ImportError(
                "energy is counted by codecarbon: "
                'pip install "speechbrain-privacy[energy]"'
            ) from None
        logging.getLogger("codecarbon").setLevel(logging.ERROR)
        device = torch.device(device)
        own = self.tracking == PROCESS and device.type == "cuda"
        # Offline, nothing is sent. The country is for carbon alone, which
        # depends on more than what is known here and is left out.
        self._tracker = codecarbon.OfflineEmissionsTracker(
            country_iso_code="USA",
            tracking_mode=self.tracking,
            gpu_ids=[_index(device)] if own else None,
            save_to_file=False,
            allow_multiple_runs=True,
            log_level="error",
        )
        self._tracker.start_task()
        hardware = self._tracker._conf.get("hardware", ["unknown"])
        shared = not any("Cpu Load" in part for part in hardware)
        self._parts = [
            part
            for part in PARTS
            if self.tracking == MACHINE
            or (part == "cpu" and (first or not shared))
            or (part == "gpu" and own)
            or part == "ram"
        ]
        self.method = (
            f"codecarbon {codecarbon.__version__}, {self.tracking}: "
            + ", ".join(hardware)
        )
        if shared and self.tracking == PROCESS:
            self.method += " (processor: of the whole machine)"

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
            f"{part}_joules": JOULES_PER_KWH
            * (getattr(spent, f"{part}_energy") if part in self._parts else 0.0)
            for part in PARTS
        }
        return {**found, "joules": sum(found.values())}

    def stop(self):
        """Counts no longer; ``start`` begins again."""
        if self._tracker is not None:
            self._tracker.stop_task()
            self._tracker.stop()
            self._tracker = None


def _index(device):
    """Of an accelerator as its driver counts, whatever is visible here."""
    return torch.cuda._get_nvml_device_index(device)
