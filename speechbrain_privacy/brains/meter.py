"""What a training costs: operations, audio, time, memory.

Costs are summed up step by step, over processes and across resumes, on top of
what was spent before. Floating point operations are counted where they happen,
in every n-th step, and extrapolated to the steps in between by a fit over batch
size and length.
"""

import json
import resource
import sys
import time
from contextlib import contextmanager, nullcontext, suppress
from uuid import uuid4

import numpy as np
import torch
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from speechbrain_privacy.brains.carried import (
    ENERGY,
    added_up,
    costs_of,
    parts_of,
    read_totals,
    run_of,
    told_once,
)
from speechbrain_privacy.brains.checkpointing import RunningMeans
from speechbrain_privacy.brains.energy import EnergyTracker
from speechbrain_privacy.dataio.files import write_json
from speechbrain_privacy.nnet.operations import counted_flops

logger = get_logger(__name__)

#: Of a run: where its costs are.
EFFICIENCY = "efficiency.json"
#: Beside its checkpoints: what was spent before it.
BEFORE = "before.json"
#: Seconds between readings of energy: what a killed run may lose of it.
BETWEEN = 10.0
#: Steps counted at the beginning, before anything is extrapolated.
FIRST = 4
#: How much larger or smaller than all counted ones a step may be that is not.
LIKE = 1.1


class EfficiencyMeter:
    """Adds up what training steps cost.

    Arguments
    ---------
    sample_rate : int
        Of the waveforms, in Hz.
    every : int
        Steps of which one is counted operation by operation (which makes
        that step slower, not its result another). A prime, so that it meets
        every place in a group of accumulated gradients.
    energy : str, optional
        ``process`` or ``machine``: whose energy is counted as well, from the
        first step to the last with all that lies between them (validation,
        checkpoints), by ``EnergyTracker``.

    Example
    -------
    >>> meter = EfficiencyMeter(sample_rate=8)
    >>> layer = torch.nn.Linear(1, 3)
    >>> with meter.step(torch.ones(2, 16), torch.tensor([1.0, 0.5])):
    ...     _ = layer(torch.ones(2, 16, 1))
    >>> found = meter.totals()
    >>> found["audio_seconds"], found["flops"], found["steps"]
    (3.0, 192.0, 1)
    """

    def __init__(self, sample_rate=16000, every=53, energy=None):
        self.sample_rate = sample_rate
        if every < 1:
            raise ValueError(f"every is 1 step or more, not {every}")
        self.every = every
        self.sums = RunningMeans()
        self.shapes, self.flops = [], []
        self.seen = 0
        self.before = {}
        self.read_at = -BETWEEN
        self.energy = None if energy is None else EnergyTracker(energy)
        self.device = torch.device("cpu")
        self.line = None

    def to(self, device):
        """Measures time, memory and energy of the device a model is on."""
        self.device = torch.device(device)
        return self

    def _wait(self):
        """For what was asked of an accelerator, which works on its own."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @contextmanager
    def step(self, wavs, lengths):
        """Measures one step.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``.
        lengths : torch.Tensor
            Relative, ``[batch]``.
        """
        counting = self.seen % self.every == 0 or self._unlike(*wavs.shape)
        self.seen += 1
        counts = []
        if self.energy is not None:
            self.energy.start(self.device)
        self._wait()
        cpu, wall = time.process_time(), time.perf_counter()
        with counted_flops(counts) if counting else nullcontext():
            yield
        n_rows, n_samples = wavs.shape
        if counting:
            self.shapes.append((n_rows, n_samples))
            self.flops.append(counts[0])
            flops = counts[0]
        else:
            flops = self._extrapolated(n_rows, n_samples)
        seconds = float((lengths * n_samples).sum()) / self.sample_rate
        self._wait()
        # Counting takes time of its own: such steps are timed apart.
        which = "counted" if counting else "timed"
        self.sums.add(
            {
                "flops": (flops, 1),
                "audio_seconds": (seconds, 1),
                f"{which}_audio": (seconds, 1),
                f"{which}_cpu": (time.process_time() - cpu, 1),
                f"{which}_wall": (time.perf_counter() - wall, 1),
            }
        )
        if time.perf_counter() - self.read_at > BETWEEN:
            self._read_energy()

    def _read_energy(self):
        if self.energy is not None:
            self.read_at = time.perf_counter()
            spent = self.energy.read()
            self.sums.add({name: (x, 1) for name, x in spent.items()})

    def carry(self, name, totals):
        """Adds what was spent before this training, e.g. on its teacher.

        What is part of something else that is carried, too, counts once: a
        teacher's boundaries, say, if they are this training's as well.

        Arguments
        ---------
        name : str
            On what. Another call with it replaces the one before.
        totals : dict
            As ``totals``, ``summary`` or ``nnet.operations.spending`` tell
            them, or some of them. If there are none, a warning says so. With
            an ``id`` it is known again inside others.
        """
        self.before.pop(name, None)
        if costs := costs_of(totals):
            more = {x: totals[x] for x in ("id", "before") if totals.get(x)}
            self.before[name] = {"id": uuid4().hex, **costs, **more}
        else:
            logger.warning(
                f"nothing says what the {name} cost (older versions did not "
                "keep it): it is not part of what is told of this training"
            )

    def carry_all(self, runs, spent, checkpointer=None):
        """Adds what runs have cost that this training builds on, and more.

        Arguments
        ---------
        runs : dict
            What they are to it -> the folder of a run, or an encoder among
            its checkpoints; None for nothing. A run that does not tell its
            costs is a warning.
        spent : dict
            What else -> its costs.
        checkpointer : Checkpointer, optional
            Of a training that may go on: what it has been told at first, in
            ``before.json`` beside the checkpoints, stays.
        """
        kept = checkpointer and checkpointer.checkpoints_dir / BEFORE
        if kept and kept.is_file() and checkpointer.find_checkpoint():
            self.before = json.loads(kept.read_text(encoding="utf-8"))
            return
        for name, source in runs.items():
            if not source:
                continue
            path = run_of(source) / EFFICIENCY
            if path.is_file():
                self.carry(name, read_totals(path))
            else:
                logger.warning(
                    f"{path} is not there: what the {name} ({source}) cost is "
                    "not part of what is told of this training"
                )
        for name, costs in spent.items():
            self.carry(name, costs)
        if kept and if_main_process():
            write_json(kept, self.before)

    def _unlike(self, n_rows, n_samples):
        """Whether too little has been counted to say what this would cost."""
        if len(self.shapes) < FIRST:
            return True
        known = set(self.shapes)
        if len(known) < FIRST:  # a law needs more
            return (n_rows, n_samples) not in known
        lengths = [t for _, t in self.shapes]
        sizes = [b * t for b, t in self.shapes]
        return any(
            not min(known) / LIKE <= x <= max(known) * LIKE
            for x, known in ((n_samples, lengths), (n_rows * n_samples, sizes))
        )

    def _extrapolated(self, n_rows, n_samples):
        """Frames cost in proportion to their number, attention to pairs."""
        terms = np.array(
            [(1.0, b * t, b * t * t) for b, t in self.shapes], float
        )
        scale = terms.max(0)
        fit, *_ = np.linalg.lstsq(terms / scale, np.array(self.flops), None)
        here = (1.0, n_rows * n_samples, n_rows * n_samples * n_samples)
        # Counted steps that are much alike fit many laws.
        each = np.array(self.flops) / terms[:, 1]
        low, high = each.min() / LIKE, each.max() * LIKE
        found = float(np.array(here) / scale @ fit) / here[1]
        return here[1] * min(max(found, low), high)

    def totals(self):
        """Sums over all steps, processes (which must all call this),
        resumes, and what was carried over: ``flops``, ``audio_seconds``,
        ``cpu_seconds``, ``wall_seconds`` (of all processes together),
        ``steps``, and ``joules`` of each part where energy is counted."""
        self._read_energy()
        return self._added_up(self.sums.pooled())

    def _added_up(self, sums):
        before = {"steps": 0} | added_up(parts_of({"before": self.before}))
        if not sums:
            return before
        total = {name: value for name, (value, _) in sums.items()}
        # What a counted second of audio would have taken uncounted.
        which = "timed" if total.get("timed_audio") else "counted"
        share = total["audio_seconds"] / max(1e-9, total[f"{which}_audio"])
        spent = {
            "flops": total["flops"],
            "audio_seconds": total["audio_seconds"],
            "cpu_seconds": total[f"{which}_cpu"] * share,
            "wall_seconds": total[f"{which}_wall"] * share,
            "steps": int(sums["flops"][1]),
            **{name: total[name] for name in ENERGY if name in total},
        }
        return {n: x + before.get(n, 0) for n, x in spent.items()}

    def show(self):
        """Shows a line below the progress bar, on a terminal: what this
        process (and what was carried over) has cost until now."""
        if first := self.line is None:
            self.line = tqdm(
                position=1,
                bar_format="{desc}",
                leave=False,
                mininterval=1.0,
                # None: on a terminal alone, where lines can be rewritten.
                disable=None if if_main_process() else True,
            )
        if self.line.disable:
            return
        line = self._said(self._added_up(self.sums.local()))
        self.line.set_description_str(line, refresh=first)
        self.line.update()

    def _said(self, spent):
        parts = [
            f"{spent.get('flops', 0) / 1e12:.3g} TFLOP",
            f"{spent.get('audio_seconds', 0) / 3600:.3g} h of audio",
            f"{spent.get('cpu_seconds', 0):.0f} CPU s",
            f"{peak_memory(self.device) / 2**30:.1f} GiB",
        ]
        if "joules" in spent:
            parts.append(f"{spent['joules'] / 1e3:.3g} kJ")
        return ", ".join(parts)

    def hide(self):
        """Takes that line away."""
        if self.line is not None:
            self.line.pos = 0  # the bar above has gone before
            self.line.close()
            self.line = None

    def logged(self):
        """The totals that belong into ``train_log.txt``.

        Those alone that a resumed run repeats exactly; ``log.txt`` is told
        the rest, as ``show`` shows it: sums of all processes, memory of one.
        """
        spent = self.totals()
        if "flops" in spent:
            logger.info("cost so far: %s", self._said(spent))
        return {"audio hours": spent.get("audio_seconds", 0) / 3600}

    def summary(self, model):
        """The totals beside the size of what was trained.

        Arguments
        ---------
        model : torch.nn.Module

        Returns
        -------
        dict
            ``totals``, ``before`` (what of them was carried over, by name),
            ``parameters``, ``parameter_bytes`` (in their own precision),
            ``peak_memory_bytes`` of this process, ``device``, and how energy
            is known (``energy_method``), where it is counted.
        """
        number, size = parameter_bytes(model)
        totals = self.totals()
        if self.energy is not None:
            totals["energy_method"] = self.energy.method
            self.energy.stop()
        return {
            **totals,
            "before": told_once(self.before),
            "parameters": number,
            "parameter_bytes": size,
            "peak_memory_bytes": peak_memory(self.device),
            "device": str(self.device),
        }


def write_cost(path, spent, steps_here):
    """Writes what a training has cost, if this process knows more of it.

    A finished training, run again, has not cost this process anything; but
    it may have been killed between its last checkpoint and this file.

    Arguments
    ---------
    path : Path
    spent : dict
        From ``EfficiencyMeter.summary``.
    steps_here : int
        Steps of this process. Without any nothing is known but the sums: not
        how much memory training took, nor how energy was counted.
    """
    if not steps_here:
        for name in ("peak_memory_bytes", "energy_method"):
            spent.pop(name, None)
    if steps_here or (spent["steps"] and not path.is_file()):
        name = uuid4().hex
        if path.is_file():
            with suppress(ValueError):  # what it may hold is written over
                # Others may have been told of this run already, by its name.
                name = read_totals(path)["id"]
        write_json(path, {"id": name, **spent})


def peak_memory(device="cpu"):
    """Bytes that this process has used at most so far.

    Arguments
    ---------
    device : str or torch.device
        Memory of an accelerator, or of the machine.

    Returns
    -------
    int

    Example
    -------
    >>> peak_memory() > 10**7
    True
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def parameter_bytes(modules):
    """Numbers and bytes of the parameters of modules.

    Arguments
    ---------
    modules : torch.nn.Module

    Returns
    -------
    tuple
        ``(how many, bytes in their own precision)``

    Example
    -------
    >>> parameter_bytes(torch.nn.Linear(3, 2).half())
    (8, 16)
    """
    sizes = [(p.numel(), p.element_size()) for p in modules.parameters()]
    return sum(n for n, _ in sizes), sum(n * size for n, size in sizes)
