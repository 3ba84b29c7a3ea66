"""Fixtures that several tests share."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def fixed_seed():
    """Every test starts from the same random state."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def corpora():
    """The folder of the real corpora, or a skip that says why."""
    folder = os.environ.get("SBP_CORPORA")
    if not folder:
        pytest.skip("SBP_CORPORA is not set: no real corpora on this machine")
    return Path(folder)


@pytest.fixture(scope="session")
def vectors():
    """Reference score sets: name -> content."""
    folder = ROOT / "tests/vectors"
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted(folder.glob("*.json"))
    }


def write_toy_corpus(folder, n_speakers=6, n_utterances=4, seed=0):
    """Voices that are chords: a tone per speaker, another per word.

    Returns the manifest's rows; audio lies in ``folder``.
    """
    rng = np.random.default_rng(seed)
    rows = []
    time = np.arange(int(0.25 * 16000)) / 16000
    for s in range(n_speakers):
        for u in range(n_utterances):
            words = [int(w) for w in rng.integers(0, 3, 4)]
            tone = [
                np.sin(2 * np.pi * (300 + 400 * w) * time)
                + 0.5 * np.sin(2 * np.pi * (2000 + 300 * s) * time)
                for w in words
            ]
            sound = np.concatenate(tone)
            sound = 0.1 * sound + 0.003 * rng.standard_normal(len(sound))
            name = f"s{s}-u{u}"
            soundfile.write(folder / f"{name}.wav", sound, 16000)
            rows.append(
                {
                    "ID": name,
                    "duration": f"{len(sound) / 16000:.4f}",
                    "wav": f"$data_root/{name}.wav",
                    "wrd": " ".join("ABC"[w] for w in words),
                    "spk_id": f"s{s}",
                    "gender": "FM"[s % 2],
                }
            )
    return rows


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory):
    """Three manifests and audio: ``folder``, ``{split: path}``."""
    from speechbrain_privacy.dataio.manifest import write_manifest

    folder = tmp_path_factory.mktemp("toy")
    rows = write_toy_corpus(folder, n_speakers=10)
    speakers = {"train": range(4), "valid": range(4, 6), "test": range(6, 10)}
    paths = {}
    for split, some in speakers.items():
        names = {f"s{s}" for s in some}
        paths[split] = folder / f"{split}.csv"
        write_manifest(
            paths[split], [row for row in rows if row["spk_id"] in names]
        )
    return folder, paths
