"""Time and peak memory of functions that take turns in one process."""

import ctypes
import statistics
import time
from pathlib import Path


def resident(field):
    """A line of /proc/self/status, in MiB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}")


def measure_time(steps, repeats, clock=time.perf_counter, warm_up=3):
    """Median seconds of each step, run in turn."""
    seconds = {name: [] for name in steps}
    for i in range(repeats + warm_up):
        for name, step in steps.items():
            begin = clock()
            step()
            if i >= warm_up:
                seconds[name].append(clock() - begin)
    return {name: statistics.median(s) for name, s in seconds.items()}


def measure_memory(steps, repeats):
    """Median peak MiB of each step above the level before it."""
    libc = ctypes.CDLL(None)
    peaks = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            libc.malloc_trim(0)
            before = resident("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            step()
            peaks[name].append(resident("VmHWM") - before)
    return {name: statistics.median(p) for name, p in peaks.items()}
