"""What a training costs: operations, audio, time, memory.

Costs are summed up step by step, over processes and across resumes. Floating
point operations are counted where they happen, in every n-th step, and
extrapolated to the steps in between by a fit over batch size and length.
"""

import resource
import sys
import time
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper
from tqdm import tqdm

from speechbrain_privacy.brains.checkpointing import RunningMeans
from speechbrain_privacy.brains.energy import EnergyTracker
from speechbrain_privacy.dataio.files import write_json

logger = get_logger(__name__)

#: What adds up; energy where it is counted.
ENERGY = ("joules", "cpu_joules", "gpu_joules", "ram_joules")
COSTS = ("flops", "audio_seconds", "cpu_seconds", "wall_seconds", *ENERGY)
#: Seconds between readings of energy: what a killed run may lose of it.
BETWEEN = 10.0
#: Steps counted at the beginning, before anything is extrapolated.
FIRST = 4


def _fft(shape, dim, *_, out_shape=None, **__):
    """5 n log2 n for a transform of n real points, halved: half a spectrum."""
    n = np.prod([shape[d] for d in dim])
    return int(2.5 * np.prod(shape) * np.log2(max(2, n)))


def _inverse_fft(shape, dim, *_, out_shape=None, **__):
    """As the way there, of as many real points as come out."""
    return _fft(out_shape, dim)


def _cpu_rnn(x, weight, recurrent, *_, out_shape=None, **__):
    """Two for each weight and frame; ``x [frames, batch, channels]``."""
    return 2 * x[0] * x[1] * int(np.prod(weight) + np.prod(recurrent))


def _cpu_rnn_backward(x, weight, recurrent, *_, out_shape=None, **__):
    return 2 * _cpu_rnn(x, weight, recurrent)


def _conv_backward(grad, x, weight, *args, out_shape=None, **__):
    """As much as forward for each gradient that is asked for.

    torch's own count forgets in that of the weights that groups share none.
    """
    transposed, mask = args[4], args[7]
    big = x if transposed else grad
    once = 2 * big[0] * int(np.prod(big[2:])) * int(np.prod(weight))
    return once * (int(mask[0]) + int(mask[1]))


_ATEN = torch.ops.aten
#: What torch's own formulas do not count, or not rightly.
EXTRA = {
    _ATEN._fft_r2c: _fft,
    _ATEN._fft_c2r: _inverse_fft,
    _ATEN.convolution_backward: _conv_backward,
    _ATEN.mkldnn_rnn_layer: _cpu_rnn,
    _ATEN.mkldnn_rnn_layer_backward: _cpu_rnn_backward,
}


_FLASH = _ATEN._scaled_dot_product_flash_attention
FORMULAS = {
    **flop_registry,
    # The same on a CPU.
    _ATEN._scaled_dot_product_flash_attention_for_cpu: flop_registry[_FLASH],
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _ATEN._scaled_dot_product_flash_attention_backward
    ],
    **{op: shape_wrapper(formula) for op, formula in EXTRA.items()},
}


class _Counter(TorchDispatchMode):
    """Counts what passes by.

    torch's ``FlopCounterMode`` takes operations apart to count them, which
    rounds gradients otherwise; here a counted step is the step it would be.
    """

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        formula = FORMULAS.get(function._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


@contextmanager
def counted_flops(counts):
    """Appends the operations of what happens inside to ``counts``.

    Matrix products, convolutions and attention (a product and a sum are two)
    with their gradients, Fourier transforms, and recurrent layers on a CPU;
    nothing that works element by element. Results stay the same to the bit.

    Arguments
    ---------
    counts : list

    Example
    -------
    >>> counts = []
    >>> with counted_flops(counts):
    ...     _ = torch.nn.Linear(30, 20)(torch.rand(10, 30))
    >>> counts
    [12000]
    """
    with _Counter() as counter:
        yield
    counts.append(int(counter.total))


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
        counting = self.seen < FIRST or self.seen % self.every == 0
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

    def carry(self, totals):
        """Adds what was spent before this training, e.g. on its teacher.

        Arguments
        ---------
        totals : dict
            As ``totals`` or ``summary`` returns them. Each call replaces the
            one before.
        """
        self.before = {
            name: totals[name] for name in (*COSTS, "steps") if name in totals
        }

    def _extrapolated(self, n_rows, n_samples):
        """Frames cost in proportion to their number, attention to pairs."""
        terms = np.array(
            [(1.0, b * t, b * t * t) for b, t in self.shapes], float
        )
        scale = terms.max(0)
        fit, *_ = np.linalg.lstsq(terms / scale, np.array(self.flops), None)
        here = (1.0, n_rows * n_samples, n_rows * n_samples * n_samples)
        return max(0.0, float(np.array(here) / scale @ fit))

    def totals(self):
        """Sums over all steps, processes (which must all call this),
        resumes, and what was carried over: ``flops``, ``audio_seconds``,
        ``cpu_seconds``, ``wall_seconds`` (of all processes together),
        ``steps``, and ``joules`` of each part where energy is counted."""
        self._read_energy()
        return self._added_up(self.sums.pooled())

    def _added_up(self, sums):
        if not sums:
            return {"steps": 0, **self.before}
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
        return {n: x + self.before.get(n, 0) for n, x in spent.items()}

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
            f"{spent['flops'] / 1e12:.3g} TFLOP",
            f"{spent['audio_seconds'] / 3600:.3g} h of audio",
            f"{spent['cpu_seconds']:.0f} CPU s",
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
        return {"audio hours": spent["audio_seconds"] / 3600}

    def summary(self, model):
        """The totals beside the size of what was trained.

        Arguments
        ---------
        model : torch.nn.Module

        Returns
        -------
        dict
            ``totals``, ``parameters``, ``parameter_bytes`` (in their own
            precision), ``peak_memory_bytes`` of this process, ``device``, and
            how energy is known (``energy_method``), where it is counted.
        """
        number, size = parameter_bytes(model)
        totals = self.totals()
        if self.energy is not None:
            totals["energy_method"] = self.energy.method
            self.energy.stop()
        return {
            **totals,
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
        write_json(path, spent)


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
