"""How well boundaries are found, beside finding them without listening."""

import time

import numpy as np
import torch
from tqdm import tqdm

from speechbrain_privacy.dataio.alignments import (
    check_durations,
    inner_boundaries,
)
from speechbrain_privacy.dataio.audio import read_utterance
from speechbrain_privacy.masking.boundaries import (
    LEARNT,
    METHODS,
    BoundaryDetector,
)
from speechbrain_privacy.masking.cepstra import STEP
from speechbrain_privacy.metrics.boundaries import evaluate_boundaries

BASELINES = ("uniform", "random")
#: Seconds of audio in one batch: the spectra of more leave the cache.
BATCH = 60.0


def evaluate_detectors(
    manifest,
    alignments,
    methods=METHODS,
    rates=(9.0,),
    sample_rate=16000,
    seed=0,
    learnt_from=None,
):
    """Precision, recall and R-value of detectors and of two baselines.

    Where there are several rates, each half of the speakers is scored at the
    rate that serves the other half best (R-value): a rate is never chosen on
    the speakers it is reported for.

    Arguments
    ---------
    manifest : Manifest
        With ``spk_id``; utterances without an alignment are left out.
    alignments : dict
        As ``dataio.alignments.read_alignments`` returns them.
    methods : iterable of str
        Of ``masking.boundaries.METHODS``.
    rates : iterable of float
        Boundaries a second.
    sample_rate : int
        In Hz.
    seed : int
        Of the random baseline.
    learnt_from : str or Path, optional
        Weights of a detector that has learnt: scored beside the others.

    Returns
    -------
    list of dict
        One per detector and baseline: ``name``, ``rates`` (one per half),
        ``n_utterances``, ``n_skipped`` (those that only
        one of manifest and alignments knows), ``report`` (a ``BoundaryReport`` over both halves) and ``cpu_seconds``
        for an hour of audio (None for baselines).

    Raises
    ------
    ValueError
        If no utterance has an alignment, or only one speaker has where a
        rate is to be chosen.
    """
    rates = tuple(rates)
    rows, half = check_scored(manifest, alignments, rates)
    if learnt_from:
        methods = (*methods, LEARNT)
    detectors = {
        (method, rate): BoundaryDetector(
            method,
            rate,
            sample_rate,
            learnt_from if method == LEARNT else None,
        )
        for method in methods
        for rate in rates
    }
    halves = [[], []]
    for row in rows:
        halves[half[row.get("spk_id", "")]].append(row["ID"])
    halves = [names for names in halves if names]
    wavs = {row["ID"]: read_utterance(row["wav"], sample_rate) for row in rows}
    seconds = {name: len(wav) / sample_rate for name, wav in wavs.items()}
    check_durations(alignments, seconds)
    truth = {name: inner_boundaries(alignments[name]) for name in wavs}
    found = []
    for method in (*methods, *BASELINES):
        began = time.process_time()
        times = {}
        for rate in rates:
            if method in BASELINES:
                draw = np.random.default_rng(seed)
                times[rate] = _blind(method, seconds, rate, draw)
            else:
                begins = find_boundaries(detectors[method, rate], wavs)
                times[rate] = {
                    name: frames * STEP for name, frames in begins.items()
                }
        spent = (time.process_time() - began) / len(rates)
        chosen = _choose(truth, times, halves)
        at = {
            name: times[rate][name]
            for rate, names in zip(chosen, halves, strict=True)
            for name in names
        }
        found.append(
            {
                "name": method,
                "rates": chosen,
                "n_utterances": len(truth),
                "n_skipped": len(manifest.rows)
                + len(alignments)
                - 2 * len(truth),
                "report": evaluate_boundaries(truth, at),
                "cpu_seconds": None
                if method in BASELINES
                else spent * 3600 / sum(seconds.values()),
            }
        )
    return found


def check_scored(manifest, alignments, rates):
    """Whether detectors can be scored, perhaps before one is trained.

    Arguments
    ---------
    manifest, alignments, rates
        As in ``evaluate_detectors``.

    Returns
    -------
    tuple
        Rows of the manifest that are aligned, and for each of their speakers
        which half of them it is in.

    Raises
    ------
    ValueError
        If there are no such rows, no rates, or a rate is to be chosen and
        there is one speaker.
    """
    rows = [row for row in manifest.rows if row["ID"] in alignments]
    if not rows:
        raise ValueError(f"{manifest.path}: none of its IDs has an alignment")
    if not rates:
        raise ValueError("one rate or more, in boundaries a second")
    speakers = sorted({row.get("spk_id", "") for row in rows})
    if len(rates) > 1 and len(speakers) < 2:
        raise ValueError(
            f"{manifest.path}: choosing a rate needs two aligned speakers or "
            "more: give one rate"
        )
    return rows, {name: i % 2 for i, name in enumerate(speakers)}


def find_boundaries(detector, wavs):
    """Runs a detector over utterances, like with like in a batch.

    Arguments
    ---------
    detector : BoundaryDetector
    wavs : dict
        Utterance -> waveform ``[samples]``.

    Returns
    -------
    dict
        Utterance -> rising numbers of frames (of 10 ms), where a phone
        begins.
    """
    most = BATCH * detector.sample_rate
    batches = [[]]
    for name in sorted(wavs, key=lambda name: len(wavs[name])):
        if batches[-1] and (len(batches[-1]) + 1) * len(wavs[name]) > most:
            batches.append([])
        batches[-1].append(name)
    found = {}
    for batch in tqdm(batches, desc=detector.method, leave=False, delay=2):
        device = detector.cepstra.frames.window.device
        padded = torch.nn.utils.rnn.pad_sequence(
            [wavs[name] for name in batch], batch_first=True
        )
        lengths = torch.tensor([len(wavs[name]) for name in batch])
        lengths = lengths.double() / padded.shape[1]
        begins, _ = detector(padded.to(device), lengths.to(device))
        for name, row in zip(batch, begins.cpu().numpy(), strict=True):
            found[name] = np.flatnonzero(row)
    return found


def _blind(method, seconds, rate, draw):
    """Boundaries from nothing but the length of each utterance."""
    times = {}
    for name, length in seconds.items():
        n = round(rate * length)
        times[name] = (
            np.arange(1, n + 1) / (n + 1) * length
            if method == "uniform"
            else np.sort(draw.uniform(0, length, n))
        )
    return times


def _choose(truth, times, halves):
    """For each half the rate that is best on the other."""
    if len(times) == 1:
        return list(times) * len(halves)

    def quality(names, rate):
        return evaluate_boundaries(
            {name: truth[name] for name in names},
            {name: times[rate][name] for name in names},
        ).r_value

    return [
        max(times, key=lambda rate: quality(other, rate))
        for other in reversed(halves)
    ]
