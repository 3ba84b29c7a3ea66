"""Drawing masks: ours beside SpeechBrain's and Hugging Face's.

    python benchmarks/masking_speed.py

Every function draws masks that hide 49 % of the frames of one batch, all in
one process and one thread, in bursts that take turns; boundaries are given.
Prints the median time of a draw and, for each policy, ``ratio <name>
<value>``: how many times faster it is. Needs transformers for the second
(``pip install -e ".[hf]"``).
"""

import argparse
import statistics
import time

import torch
from speechbrain.lobes.models.wav2vec import compute_mask

from speechbrain_privacy.masking.grid import duration_histogram
from speechbrain_privacy.masking.policies import (
    DurationMatchedSpans,
    FixedSpans,
    Segments,
)

SHAPES = ((32, 750), (64, 1500))
#: wav2vec 2.0's settings, which hide 49 % of the frames.
PROBABILITY, SPAN, HIDDEN = 0.65, 10, 0.49
#: Calls of one function in a row.
BURST = 10
#: Boundaries for each frame of 20 ms, nine a second.
BOUNDARIES = 0.18


def measure(functions, repetitions):
    """Median milliseconds of each function, in bursts that take turns."""
    times = {name: [] for name in functions}
    for _ in range(repetitions):
        for name, function in functions.items():
            function()  # its code and memory are at hand
            for _ in range(BURST):
                began = time.perf_counter()
                function()
                times[name].append(time.perf_counter() - began)
    return {name: 1e3 * statistics.median(t) for name, t in times.items()}


def policies(n_rows, n_frames):
    """Name -> function from frame counts (default: all) to masks."""
    full = torch.full((n_rows,), n_frames)
    begins = torch.rand(n_rows, n_frames) < BOUNDARIES
    segments, fixed = Segments(HIDDEN), FixedSpans(HIDDEN, SPAN)
    matched = DurationMatchedSpans(duration_histogram(begins, full), HIDDEN)
    return {
        "segments": lambda counts=full: segments(counts, begins),
        "fixed": lambda counts=full: fixed(counts),
        "duration_matched": lambda counts=full: matched(counts),
    }


def peers(n_rows, n_frames):
    """Name -> function of the peers that are installed."""
    found = {
        "speechbrain": lambda: compute_mask(
            (n_rows, n_frames), [n_frames] * n_rows, PROBABILITY, SPAN
        )
    }
    try:
        from transformers.models.wav2vec2 import modeling_wav2vec2
    except ImportError:
        print("transformers is not installed: no comparison with it")
    else:
        draw = modeling_wav2vec2._compute_mask_indices
        found["transformers"] = lambda: draw(
            (n_rows, n_frames), PROBABILITY, SPAN
        )
    return found


def main():
    """Prints the times and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=8)
    repetitions = parser.parse_args().repetitions
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for n_rows, n_frames in SHAPES:
        ours, theirs = policies(n_rows, n_frames), peers(n_rows, n_frames)
        times = measure({**ours, **theirs}, repetitions)
        shape = f"{n_rows}x{n_frames}"
        for name, value in times.items():
            print(f"{shape} {name}: {value:.2f} ms")
        for policy in ours:
            for peer in theirs:
                ratio = times[peer] / times[policy]
                print(f"ratio {shape}_{policy}_vs_{peer} {ratio:.1f}")

    lengths = torch.linspace(30, 1500, 64).long()
    worst = max(
        float((draw(lengths).sum(1) / lengths - HIDDEN).abs().max())
        for draw in policies(64, 1500).values()
    )
    print(
        f"utterances of 30 to 1500 frames in one batch: the hidden share is "
        f"off by {100 * worst:.2f} points at most (rounding to whole frames)"
    )


if __name__ == "__main__":
    main()
