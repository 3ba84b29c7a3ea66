"""Boundaries of a whole corpus: found once and kept, or read off alignments.

Both are functions from a manifest to ``{utterance: frames}``, frames of 10 ms
where a phone begins, for ``dataio.speech.load_speech_data``.
"""

import hashlib
import os
from functools import cached_property

import numpy as np
import torch
from speechbrain.utils.distributed import run_on_main
from tqdm import tqdm

from speechbrain_privacy.dataio.alignments import (
    AlignmentError,
    alignment_paths,
    check_durations,
    inner_boundaries,
    read_alignments,
)
from speechbrain_privacy.dataio.audio import read_utterance
from speechbrain_privacy.dataio.ragged import (
    read_ragged,
    read_spent,
    write_ragged,
)
from speechbrain_privacy.masking.cepstra import STEP
from speechbrain_privacy.masking.evaluation import find_boundaries
from speechbrain_privacy.nnet.operations import spending

#: Utterances read at once.
CHUNK = 256
#: Of the detectors; another one finds boundaries anew.
VERSION = 1


class AlignedBoundaries:
    """Where phones begin according to an alignment: the oracle.

    Arguments
    ---------
    path : str or list of str
        CSV ``utt_id,start,end,phone``, one or several.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> rows = "utt_id,start,end,phone", "u,0,0.1,SIL", "u,0.1,0.3,AH"
    >>> _ = path.write_text("\\n".join(rows))
    >>> row = {"ID": "u", "duration": 0.3}
    >>> AlignedBoundaries(path)(SimpleNamespace(rows=[row]))
    {'u': tensor([10])}
    """

    def __init__(self, path):
        self.path = path

    def __call__(self, manifest):
        """Manifest -> dict; every utterance must be aligned."""
        if not self.path:
            raise AlignmentError(
                "these masks follow an alignment, and none is given (in "
                "recipes for real speech: --mask_alignments, of all data)"
            )
        known = {}
        for path in alignment_paths(self.path):
            known.update(read_alignments(path))
        for row in manifest.rows:
            if row["ID"] not in known:
                raise AlignmentError(
                    f"{self.path}: no alignment of '{row['ID']}', which "
                    f"{manifest.path} lists"
                )
        check_durations(
            known, {row["ID"]: row["duration"] for row in manifest.rows}
        )
        return {
            row["ID"]: torch.from_numpy(
                np.rint(inner_boundaries(known[row["ID"]]) / STEP)
            ).long()
            for row in manifest.rows
        }


class StoredBoundaries:
    """What a detector finds, kept beside the manifest.

    Arguments
    ---------
    make : callable
        Makes a ``BoundaryDetector``, when it is needed: one that has learnt
        lies in a file that nobody else asks for.
    """

    def __init__(self, make):
        self.make = make

    @cached_property
    def detector(self):
        """As ``make`` makes it."""
        return self.make()

    @property
    def learnt_from(self):
        """The run that its detector has learnt in, if it has learnt."""
        return self.detector.learnt_from

    def __call__(self, manifest):
        """Manifest -> dict, see ``stored_boundaries``."""
        return stored_boundaries(manifest, self.detector)

    def spent(self, manifest):
        """What finding them has cost, whoever has: see ``nnet.operations``."""
        return read_spent(_kept_in(manifest, self.detector))


def stored_boundaries(manifest, detector):
    """Finds the boundaries of every utterance, or reads them.

    Arguments
    ---------
    manifest : Manifest
    detector : BoundaryDetector

    Returns
    -------
    dict
        Utterance -> frames (of 10 ms) where a phone begins, a LongTensor.
        They are kept in ``STEM.METHOD-RATE.npz`` beside the manifest (with
        a few digits of its weights for a detector that has learnt) and found
        anew when the manifest or an audio file has changed.
    """
    path = _kept_in(manifest, detector)
    fingerprint = _fingerprint(manifest, detector)

    def find():
        if read_ragged(path, fingerprint) is None:
            spent = {}
            with spending(spent):
                found = _find(manifest, detector)
            write_ragged(path, fingerprint, found, spent)

    run_on_main(find)
    known = read_ragged(path, fingerprint)
    return {name: torch.from_numpy(frames) for name, frames in known.items()}


def _kept_in(manifest, detector):
    learnt = f"-{weights[:8]}" if (weights := _weights(detector)) else ""
    name = f"{manifest.path.stem}.{detector.method}-{detector.rate:g}{learnt}"
    return manifest.path.with_name(f"{name}.npz")


def _weights(detector):
    """A name of what a detector has learnt, empty if nothing."""
    if detector.encoder is None:
        return ""
    digest = hashlib.sha256()
    for weights in detector.encoder.state_dict().values():
        digest.update(weights.cpu().numpy().tobytes())
    return digest.hexdigest()


def _fingerprint(manifest, detector):
    """Of the manifest, its audio files, and how boundaries are found."""
    digest = hashlib.sha256(manifest.fingerprint().encode())
    digest.update(f"{VERSION} {detector.sample_rate}".encode())
    digest.update(_weights(detector).encode())
    for row in manifest.rows:
        digest.update(f"{row['wav']}\n".encode())
        if os.path.isfile(row["wav"]):
            found = os.stat(row["wav"])
            digest.update(f"{found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _find(manifest, detector):
    rows = sorted(manifest.rows, key=lambda row: row["duration"])
    found = {}
    chunks = range(0, len(rows), CHUNK)
    for i in tqdm(chunks, desc=f"boundaries of {manifest.path.name}"):
        wavs = {
            row["ID"]: read_utterance(
                row["wav"], detector.sample_rate, row["duration"]
            )
            for row in rows[i : i + CHUNK]
        }
        found.update(find_boundaries(detector, wavs))
    return found
