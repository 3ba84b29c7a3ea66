"""What the representations of a frozen model are like, tap by tap."""

from dataclasses import asdict

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans

from speechbrain_privacy.audit.phones import frame_grid, labelled_frames
from speechbrain_privacy.audit.representations import extract
from speechbrain_privacy.metrics.abx import Segment, abx
from speechbrain_privacy.metrics.representation import (
    alignment,
    cluster_report,
    lidar,
    linear_cka,
    rankme,
    uniformity,
)

#: Seconds between frames that two taps are compared at.
GRID = 0.04
#: No phones: an alignment's names of silence are not told apart.
SILENCE = ("SIL", "sil", "sp", "spn", "", "_")
#: Why there is no metric of speakers.
UNKNOWN = {
    "not_computed": "the manifest does not say of all utterances who speaks "
    "them (spk_id)"
}


def describe(
    brain,
    taps,
    dataset,
    manifest,
    alignments=None,
    most_frames=20000,
    clusters=100,
    seed=0,
    progressbar=True,
    worse=None,
    views=0,
):
    """Label-free metrics, and those that need phones where these are known.

    Arguments
    ---------
    brain : AdversarialBrain
        Trained; not changed.
    taps : dict
        Name -> ``Tap``, of modules.
    dataset : DynamicItemDataset
    manifest : Manifest
        With ``spk_id``, if it is known who speaks.
    alignments : dict, optional
        As ``dataio.alignments.read_alignments`` returns them.
    most_frames : int
        Drawn of all, for the metrics of frames.
    clusters : int
        Of k-means on these frames.
    seed : int
    progressbar : bool
    worse : callable, optional
        Makes another view of waveforms: see ``heard`` of ``tapped_frames``.
    views : int
        How many are made of each utterance; 0 for none.

    Returns
    -------
    dict
        Tap -> ``rankme``, ``rankme_centred``, ``uniformity``, ``cka`` (with
        each other tap); with views ``lidar_views`` (means of utterances, heard
        in several ways) and ``alignment_views`` (frames as they were recorded
        and as the first view has them); with speakers ``lidar_speakers``
        (means of a speaker's utterances); with phones ``lidar_phones`` and
        ``clusters``; with both ``alignment`` (same phone, another speaker),
        ``abx_within`` and ``abx_across``. What cannot be computed is told in a
        sentence instead.
    """
    tapped = extract(brain, taps, dataset, progressbar=progressbar)
    means = {name: [] for name in taps}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for number in range(views):
            view = extract(
                brain, taps, dataset, progressbar=progressbar, heard=worse
            )
            for name in taps:
                means[name].append(_means(view[name]))
            if number == 0:
                first = view
            del view  # one at a time is in memory, beside the first
    speakers = {row["ID"]: row.get("spk_id") for row in manifest.rows}
    if not all(speakers.values()):
        speakers = None
    durations = {row["ID"]: row["duration"] for row in manifest.rows}
    draw = np.random.default_rng(seed)
    found, common = {}, {}
    for name in taps:
        data = tapped[name]
        grid = frame_grid(brain.modules, data, manifest)
        kept = np.sort(draw.permutation(len(data.frames))[:most_frames])
        frames = np.asarray(data.frames[kept], np.float64)
        found[name] = {
            "rankme": _or_why(rankme, frames),
            "rankme_centred": _or_why(rankme, frames - frames.mean(0)),
            "uniformity": _or_why(
                uniformity, frames[:: max(1, len(frames) // 5000)]
            ),
            "lidar_speakers": UNKNOWN
            if speakers is None
            else _or_why(lidar, _means(data), [speakers[x] for x in data.ids]),
        }
        if views:
            found[name] |= {
                "lidar_views": _or_why(
                    lidar,
                    np.concatenate(means[name]),
                    np.tile(data.ids, views),
                ),
                "alignment_views": _or_why(
                    alignment, frames, first[name].frames[kept]
                ),
            }
        common[name] = _at_common_times(data, durations, *grid)
        if alignments is not None:
            found[name] |= _with_phones(
                data, grid, manifest, alignments, speakers,
                (most_frames, clusters, seed),
            )  # fmt: skip
    for name in taps:
        found[name]["cka"] = {
            other: _or_why(
                linear_cka, common[name][0][both], common[other][0][both]
            )
            for other in taps
            if other != name
            for both in [common[name][1] & common[other][1]]
        }
    return found


def _means(data):
    """Of each utterance, ``[utterances, dim]``."""
    sums = np.add.reduceat(data.frames, data.offsets[:-1], dtype=np.float64)
    return sums / data.counts[:, None]


def _with_phones(data, grid, manifest, alignments, speakers, settings):
    most_frames, clusters, seed = settings
    frames, phones, who = labelled_frames(data, manifest, alignments, *grid)
    draw = np.random.default_rng(seed)
    kept = np.sort(draw.permutation(len(frames))[:most_frames])
    frames, phones, who = frames[kept].astype(float), phones[kept], who[kept]
    units = MiniBatchKMeans(
        min(clusters, len(frames)), random_state=seed, batch_size=4096, n_init=3
    ).fit_predict(frames)
    found = {
        "lidar_phones": _or_why(lidar, frames, phones),
        "clusters": _or_why(lambda: asdict(cluster_report(units, phones))),
    }
    if speakers is None:
        return found | dict.fromkeys(
            ("alignment", "abx_within", "abx_across"), UNKNOWN
        )
    pairs = _positive_pairs(phones, who, draw)
    segments = phone_segments(data, grid, alignments, speakers)
    found["alignment"] = _or_why(alignment, frames[pairs[0]], frames[pairs[1]])
    for mode in ("within", "across"):
        found[f"abx_{mode}"] = _or_why(
            lambda mode=mode: asdict(abx(segments, mode, seed=seed))
        )
    return found


def phone_segments(data, grid, alignments, speakers):
    """The frames of each phone, in no context.

    Arguments
    ---------
    data : Representations
    grid : tuple of float
        Seconds between frames, and of the middle of the first.
    alignments : dict
        Utterance -> ``(start, end, phone)``.
    speakers : dict
        Of utterances.

    Returns
    -------
    list of Segment
        Phones that no frame has its middle in are left out, and silence.
    """
    step, first = grid
    segments = []
    for key, x in zip(data.ids, data.utterances(), strict=True):
        for start, end, phone in alignments.get(key, ()):
            low, high = (
                int(np.ceil((t - first) / step - 1e-9)) for t in (start, end)
            )
            inside = x[max(0, low) : max(0, high)]
            if len(inside) and phone not in SILENCE:
                segments.append(Segment(inside, phone, speakers[key]))
    return segments


def _positive_pairs(phones, who, draw, n=5000):
    """Places of frames of one phone by two speakers."""
    first = draw.integers(len(phones), size=4 * n)
    second = np.empty_like(first)
    for phone in np.unique(phones):
        of = np.flatnonzero(phones == phone)
        mine = phones[first] == phone
        second[mine] = draw.choice(of, mine.sum())
    apart = who[first] != who[second]
    return first[apart][:n], second[apart][:n]


def _at_common_times(data, durations, step, first):
    """Frames nearest to every 40 ms of all utterances, and which are there:
    taps have frames at different times, and not equally many."""
    places, there = [], []
    for key, start, count in zip(
        data.ids, data.offsets, data.counts, strict=False
    ):
        times = np.arange(0, durations[key], GRID)
        at = np.rint((times - first) / step).astype(int).clip(0)
        there.append(at < count)
        places.append(start + at.clip(max=count - 1))
    frames = np.asarray(data.frames)[np.concatenate(places)]
    return frames, np.concatenate(there)


def _or_why(metric, *arguments):
    """A number, or the sentence that says why there is none."""
    try:
        return metric(*arguments)
    except ValueError as fault:
        return {"not_computed": str(fault)}
