"""How fast voices are changed, in seconds of audio for a CPU second.

    python benchmarks/voices_speed.py

One thread, batches of one utterance, as ``speechbrain-privacy anonymise``
takes them; pulses through a filter, so that no frame is silent. Prints
``ratio real_time_NAME VALUE`` (goal for McAdams: 50).
"""

import argparse
import time

import torch
from measuring import measure_time

from speechbrain_privacy.augment.mcadams import McAdams
from speechbrain_privacy.augment.voices import Equalizer, Pitch, VocalTract

RATE = 16000


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    wavs = 0.1 * torch.randn(1, round(options.seconds * RATE))
    wavs[:, :: RATE // 120] += 1.0
    changes = {
        "mcadams": McAdams(),
        "vocal_tract": VocalTract(),
        "pitch": Pitch(),
        "equalizer": Equalizer(),
    }
    steps = {
        name: lambda change=change: change(wavs)
        for name, change in changes.items()
    }
    seconds = measure_time(steps, options.repeats, time.process_time, 2)
    for name, spent in seconds.items():
        print(f"ratio real_time_{name} {options.seconds / spent:.0f}")


if __name__ == "__main__":
    main()
