"""Makes ``tests/samples/tones``: a corpus small enough to keep in git.

Ten "speakers" say four of three "words" in an utterance of a second: a low
tone for each word, a high tone for the speaker. Run from the repository's
root: ``python tests/samples/make_tones.py``.
"""

from pathlib import Path

import numpy as np
import soundfile

from speechbrain_privacy.dataio.manifest import write_manifest

RATE = 16000
SPLITS = {"train": range(4), "valid": range(4, 6), "test": range(6, 10)}


def make_tones(folder, n_utterances=4, seed=0):
    """Writes flac files, three manifests and alignments below ``folder``."""
    folder = Path(folder)
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    time = np.arange(RATE // 4) / RATE
    spoken = ["utt_id,start,end,phone"]
    for split, speakers in SPLITS.items():
        rows = []
        for s in speakers:
            for u in range(n_utterances):
                words = rng.integers(0, 3, 4)
                sound = np.concatenate(
                    [
                        np.sin(2 * np.pi * (300 + 400 * word) * time)
                        + 0.5 * np.sin(2 * np.pi * (2000 + 300 * s) * time)
                        for word in words
                    ]
                )
                sound = 0.1 * sound + 3e-4 * rng.standard_normal(len(sound))
                name = f"s{s}-u{u}"
                soundfile.write(folder / "wav" / f"{name}.flac", sound, RATE)
                rows.append(
                    {
                        "ID": name,
                        "duration": f"{len(sound) / RATE:.4f}",
                        "wav": f"$data_root/wav/{name}.flac",
                        "wrd": " ".join("ABC"[word] for word in words),
                        "spk_id": f"s{s}",
                        "gender": "FM"[s % 2],
                    }
                )
                spoken += [
                    f"{name},{i / 4},{(i + 1) / 4},{'ABC'[word]}"
                    for i, word in enumerate(words)
                ]
        write_manifest(folder / f"{split}.csv", rows)
    (folder / "alignments.csv").write_text("\n".join(spoken) + "\n")


if __name__ == "__main__":
    make_tones(Path(__file__).parent / "tones")
