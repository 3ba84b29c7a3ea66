"""What computing costs: floating point operations and seconds.

Operations are counted where they happen, as they pass through torch.
"""

import time
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper


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


def _gpu_rnn(x, weights, *_, out_shape=None, **__):
    """As on a CPU, of all layers: ``x [..., channels]``, with their biases."""
    products = sum(int(np.prod(w)) for w in weights if len(w) > 1)
    return 2 * int(np.prod(x[:-1])) * products


def _gpu_rnn_backward(x, weights, *_, out_shape=None, **__):
    return 2 * _gpu_rnn(x, weights)


def _vector(matrix, vector, *_, out_shape=None, **__):
    """``[n, m]`` by ``[m]``, or ``[m]`` by ``[m]``."""
    return 2 * int(np.prod(matrix))


def _added_vector(added, matrix, vector, *_, out_shape=None, **__):
    return _vector(matrix, vector)


def _distances(x, y, *_, out_shape=None, **__):
    """A difference, a power and a sum for each pair and channel."""
    return 3 * int(np.prod(out_shape)) * x[-1]


def _distances_backward(grad, x, y, *_, out_shape=None, **__):
    return 3 * int(np.prod(grad)) * x[-1]


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
    _ATEN._cudnn_rnn: _gpu_rnn,
    _ATEN._cudnn_rnn_backward: _gpu_rnn_backward,
    _ATEN.mv: _vector,
    _ATEN.addmv: _added_vector,
    _ATEN.dot: _vector,
    _ATEN._cdist_forward: _distances,
    _ATEN._cdist_backward: _distances_backward,
    # Of many points; gradients pass as matrix products.
    _ATEN._euclidean_dist: _distances,
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


#: Counters at work, the innermost last.
_COUNTING = []


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

    Matrix products, convolutions, attention and recurrent layers (a product
    and a sum are two), distances (``cdist``), all with their gradients, and
    Fourier transforms; nothing else that works element by element, so no
    cosine similarity. Results stay the same to the bit.

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
        _COUNTING.append(counter)
        try:
            yield
        finally:
            _COUNTING.remove(counter)
    counts.append(int(counter.total))


def note_flops(flops):
    """Adds operations that torch does not see, to what is counted around.

    Arguments
    ---------
    flops : float

    Example
    -------
    >>> counts = []
    >>> with counted_flops(counts):
    ...     note_flops(12)
    >>> counts
    [12]
    """
    for counter in _COUNTING:
        counter.total += flops


@contextmanager
def spending(spent):
    """Adds what happens inside, on this machine's processor, to ``spent``.

    Arguments
    ---------
    spent : dict
        ``flops`` (see ``counted_flops``), ``cpu_seconds`` and
        ``wall_seconds`` are added to; what fails adds nothing.

    Example
    -------
    >>> spent = {}
    >>> for _ in range(2):
    ...     with spending(spent):
    ...         _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> spent["flops"], spent["wall_seconds"] > 0
    (96, True)
    """
    counts, cpu, wall = [], time.process_time(), time.perf_counter()
    with counted_flops(counts):
        yield
    here = {
        "flops": counts[0],
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
    }
    for name, value in here.items():
        spent[name] = spent.get(name, 0) + value
