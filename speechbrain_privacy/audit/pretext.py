"""Which pretext tasks to train on, from labelled speech, without training.

Source: Zaiem et al., "Pretext tasks selection for multitask self-supervised
audio representation learning", JSTSP 2022. Segments of speech are compared by
the cosine of their log-mel features, brought to ten frames; tasks by the mean
of their descriptor in a segment.
"""

import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from speechbrain.lobes.features import Fbank
from tqdm import tqdm

from speechbrain_privacy.dataio.audio import read_utterance
from speechbrain_privacy.dataio.files import replaced_file
from speechbrain_privacy.metrics.dependence import log_gaussian, shuffled_hsic

#: Column of the classes, where there are no phones.
LABEL = "spk_id"
#: Frames that a segment is brought to.
FRAMES = 10
#: Of the Gaussians that do it, as shares of the segment; those further from
#: its middle are wider.
WIDTH, SLOPE = 0.07, 0.1
#: Segments of a class, at least and at most.
LEAST, MOST = 20, 300
#: Where a recipe has its weights of tasks.
WEIGHTS = re.compile(
    r"^weights:[ \t]*(?:#.*)?\n(?:(?:[ \t]*(?:#.*)?\n)*[ \t]+\w.*(?:\n|\Z))+",
    re.MULTILINE,
)
NAME = r"^(name:.*?\b){}(?=\b|_)"
INCLUDE = re.compile(r"!include:(\S+)")
#: Seconds between frames, of features and descriptors.
STEP = 0.01


def downsampled(frames, count=FRAMES):
    """Any number of frames -> ``count``, by Gaussian means.

    Source: Holzenberger et al., "Learning word embeddings: unsupervised
    methods for fixed-size representations of variable-length speech
    segments", Interspeech 2018.

    Arguments
    ---------
    frames : np.ndarray
        ``[frames, channels]``.
    count : int

    Returns
    -------
    np.ndarray
        ``[count, channels]``.

    Example
    -------
    >>> downsampled(np.ones((3, 2))).shape
    (10, 2)
    """
    at = (np.arange(len(frames)) + 0.5) / len(frames)
    middle = (np.arange(count) + 0.5) / count
    width = WIDTH + SLOPE * np.abs(middle - 0.5)
    apart = np.square((at[None] - middle[:, None]) / width[:, None])
    weights = np.exp(-0.5 * (apart - apart.min(1, keepdims=True)))
    return (weights / weights.sum(1, keepdims=True)) @ frames


def segments_of(manifest, alignments=None, label=None):
    """Labelled segments: phones of an alignment, or whole utterances.

    Arguments
    ---------
    manifest : Manifest
    alignments : dict, optional
        Utterance -> list of ``(start, end, phone)``.
    label : str
        Without alignments, the manifest's column that says the class;
        default ``spk_id``.

    Returns
    -------
    dict
        Class -> list of ``(row, start, end)``, in seconds.
    """
    if alignments is not None and label:
        raise ValueError(
            f"classes are phones of an alignment or values of '{label}', not "
            "both"
        )
    label = label or LABEL
    found = defaultdict(list)
    for row in manifest.rows:
        if alignments is None:
            if row.get(label):
                found[row[label]].append((row, 0.0, row["duration"]))
            continue
        for start, end, phone in alignments.get(row["ID"], ()):
            if end - start >= 2 * STEP:
                found[phone].append((row, start, end))
    return dict(found)


def describe_segments(
    segments,
    descriptors,
    sample_rate=16000,
    most=MOST,
    least=LEAST,
    seed=0,
    progressbar=True,
):
    """Kernels of speech and standardised targets, class by class.

    Arguments
    ---------
    segments : dict
        Of ``segments_of``.
    descriptors : Descriptors
    sample_rate : int
        Of the audio, in Hz.
    most, least : int
        Segments of a class: of more as many are drawn; a class with fewer is
        left out.
    seed : int
        Of the draws.
    progressbar : bool

    Returns
    -------
    kernels : dict
        Class -> ``[n, n]``.
    targets : dict
        Class -> descriptor -> ``[n]``, of zero mean and unit variance over
        all classes.
    left_out : list of str
        Classes with too few segments.

    Raises
    ------
    ValueError
        If no class is left, or a descriptor is the same everywhere.
    """
    for name, number in (("least", least), ("most", most)):
        if number < 2:
            raise ValueError(f"{name} is 2 segments or more, not {number}")
    draw = np.random.default_rng(seed)
    chosen, left_out = {}, []
    for name in sorted(segments):
        some = segments[name]
        if len(some) < least:
            left_out.append(name)
            continue
        places = np.sort(draw.permutation(len(some))[:most])
        chosen[name] = [some[i] for i in places]
    if not chosen:
        largest = max(map(len, segments.values()), default=0)
        raise ValueError(
            f"no class has {least} segments (the largest has {largest}): give "
            "--alignments, label more speech, or lower what a class needs "
            "(--least)"
        )
    wanted = defaultdict(list)
    for name, some in chosen.items():
        for place, (row, start, end) in enumerate(some):
            wanted[row["wav"]].append((name, place, start, end))
    spectra = {name: [None] * len(some) for name, some in chosen.items()}
    means = {name: [None] * len(some) for name, some in chosen.items()}
    features = Fbank(sample_rate=sample_rate, n_fft=400, n_mels=40)
    for path, cuts in tqdm(
        wanted.items(),
        desc="describing",
        dynamic_ncols=True,
        disable=not progressbar,
    ):
        wav = read_utterance(path, sample_rate)[None]
        with torch.no_grad():
            mels = features(wav)[0].numpy()
            described = descriptors(wav)[0].numpy()
        n_frames = min(len(mels), len(described))
        for name, place, start, end in cuts:
            first = min(round(start / STEP), n_frames - 1)
            last = max(first + 1, min(round(end / STEP), n_frames))
            spectra[name][place] = downsampled(mels[first:last]).ravel()
            means[name][place] = described[first:last].mean(0)
    every = np.concatenate([np.stack(some) for some in means.values()])
    centre, spread = every.mean(0), every.std(0)
    if not (spread > 0).all():
        same = descriptors.names[int(np.argmin(spread))]
        raise ValueError(f"'{same}' is the same in all segments")
    kernels, targets = {}, {}
    for name in chosen:
        x = np.stack(spectra[name])
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        kernels[name] = x @ x.T
        scaled = (np.stack(means[name]) - centre) / spread
        targets[name] = dict(zip(descriptors.names, scaled.T, strict=True))
    return kernels, targets, left_out


def null_levels(kernels, targets, centering):
    """HSIC of each task with its segments shuffled: what nothing looks like.

    Arguments
    ---------
    kernels, targets : dict
        Of ``describe_segments``.
    centering : str

    Returns
    -------
    dict
        Descriptor -> mean over classes, and over all orders.
    """
    found = defaultdict(list)
    for name, kernel in kernels.items():
        for task, values in targets[name].items():
            other = np.exp(log_gaussian(values))
            found[task].append(shuffled_hsic(kernel, other, centering))
    return {task: float(np.mean(some)) for task, some in found.items()}


def check_recipe(source, target):
    """Finds before the weights are that no recipe can be written.

    Arguments
    ---------
    source, target : str or Path
        As for ``write_recipe``.

    Returns
    -------
    str
        What ``source`` says.

    Raises
    ------
    ValueError
        If it is not there, has no weights, not its own name, or includes
        what is not there; if ``target`` is there.
    """
    if Path(target).exists():
        raise ValueError(f"{target} is there already: give another name")
    if not Path(source).is_file():
        raise ValueError(f"{source}: there is no such recipe")
    text = Path(source).read_text(encoding="utf-8")
    if len(WEIGHTS.findall(text)) != 1:
        raise ValueError(
            f"{source}: no block 'weights:' of pretext tasks, one in a line, "
            "as in a multitask recipe"
        )
    if not re.search(NAME.format(re.escape(Path(source).stem)), text, re.M):
        raise ValueError(
            f"{source}: 'name:' has not the file's name in it, so that both "
            "recipes would share a folder"
        )
    for match in INCLUDE.finditer(text):
        if not (Path(source).parent / match[1]).is_file():
            raise ValueError(f"{source}: there is no {match[1]}")
    return text


def write_recipe(source, target, weights, origin=""):
    """A recipe like another, with other weights of pretext tasks.

    Comments and all other settings stay as they are; what it includes is
    found from its new place, and its name is that of the file.

    Arguments
    ---------
    source : str or Path
        YAML with a top-level mapping ``weights``, e.g. ``multitask.yaml``.
    target : str or Path
        YAML to be made; nothing is overwritten.
    weights : dict
        Task -> weight.
    origin : str
        Where they come from, for a comment.

    Raises
    ------
    ValueError
        As from ``check_recipe``.
    """
    text = check_recipe(source, target)
    source, target = Path(source), Path(target)
    lines = "".join(f"    {task}: {w:.4f}\n" for task, w in weights.items())
    origin = f" # {origin}" if origin else ""
    text = WEIGHTS.sub(lambda _: f"weights:{origin}\n{lines}", text)

    def included(match):
        path = (source.parent / match[1]).resolve()
        return f"!include:{os.path.relpath(path, target.parent.resolve())}"

    text = INCLUDE.sub(included, text)
    name = NAME.format(re.escape(source.stem))
    text = re.sub(name, lambda m: m[1] + target.stem, text, flags=re.M)
    with replaced_file(target) as file:
        file.write(text)
