"""A folder of speech -> the same folder, said by other voices."""

import hashlib
import json
import shutil
from pathlib import Path

import soundfile
import torch
from tqdm import tqdm

#: What is read and written, and as what; NIST sphere becomes WAV.
FORMATS = {
    ".wav": "WAV",
    ".wave": "WAV",
    ".sph": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".au": "AU",
    ".caf": "CAF",
}
#: Speech that cannot be changed here, and is not to slip through either.
CLOSED = (
    ".3gp",
    ".aac",
    ".ac3",
    ".amr",
    ".avi",
    ".m4a",
    ".mka",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".pcm",
    ".ra",
    ".raw",
    ".webm",
    ".wma",
)
#: What was done, in the folder that is written.
RECORD = "anonymised.json"


def anonymise_folder(
    source, target, method, settings, seed=0, progressbar=True
):
    """Changes every audio file, copies what is none.

    A file that is there already is kept, whatever became of its source, so
    that a run which was cut off goes on; the result is the same, since what is
    drawn for a file depends on its name and ``seed`` alone.

    Arguments
    ---------
    source, target : str or Path
        Folders. NIST sphere becomes WAV (``a.sph`` -> ``a.wav``).
    method : callable
        ``[1, samples]`` and a sampling rate -> ``[1, samples]``.
    settings : dict
        What ``method`` is, to be told from another one.
    seed : int
    progressbar : bool

    Returns
    -------
    tuple
        How many audio files there are, how many others were copied, and
        ``(path, reason)`` of audio that could not be read.

    Raises
    ------
    ValueError
        If the source holds no audio, or the target was made otherwise.
    """
    source, target = Path(source), Path(target)
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is not a folder")
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{target} lies in {source}: give another place")
    files = sorted(path for path in source.rglob("*") if path.is_file())
    kinds = (*FORMATS, *CLOSED)
    audio = [path for path in files if path.suffix.lower() in kinds]
    if not audio:
        raise ValueError(f"{source}: holds no {', '.join(FORMATS)} files")
    goals = {}
    for path in files:
        goal = target / path.relative_to(source)
        if path.suffix.lower() == ".sph":
            goal = goal.with_suffix(".wav")
        if goal in goals:
            raise ValueError(f"{path} would be written to {goal}, as another")
        goals[goal] = path
    _remember(target / RECORD, {**settings, "seed": seed})
    unread = []
    for goal, path in tqdm(
        goals.items(),
        desc="anonymise",
        dynamic_ncols=True,
        disable=not progressbar,
    ):
        name = path.relative_to(source)
        if path.suffix.lower() in CLOSED:
            unread.append((path, f"{path.suffix} is not read: convert it"))
            continue
        if goal.is_file():
            continue
        goal.parent.mkdir(parents=True, exist_ok=True)
        partial = goal.with_name(f".partial-{goal.name}")
        if path.suffix.lower() not in FORMATS:
            shutil.copyfile(path, partial)
        else:
            try:
                _change(path, partial, goal.suffix, name, method, seed)
            except (soundfile.LibsndfileError, ValueError) as fault:
                partial.unlink(missing_ok=True)
                unread.append((path, str(fault)))
                continue
        partial.replace(goal)
    return len(audio), len(files) - len(audio), unread


def _change(path, partial, suffix, name, method, seed):
    info = soundfile.info(path)
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if not len(samples):
        raise ValueError("holds no samples")
    wav = torch.from_numpy(samples.T.copy())
    if not torch.isfinite(wav).all():
        raise ValueError("holds NaN or infinity")
    digest = hashlib.sha256(f"{seed} {name.as_posix()}".encode()).digest()
    changed = []
    with torch.random.fork_rng(devices=[]):
        for row in wav:  # channels get one voice
            torch.manual_seed(int.from_bytes(digest[:7], "big"))
            changed.append(method(row.unsqueeze(0), rate))
    changed = torch.cat(changed)
    # Louder than full scale would be clipped.
    changed = changed / changed.abs().max().clamp(min=1.0)
    form = FORMATS[suffix.lower()]
    subtype = info.subtype
    if subtype not in soundfile.available_subtypes(form):
        subtype = soundfile.default_subtype(form)
    soundfile.write(partial, changed.T.numpy(), rate, subtype, format=form)


def _remember(path, settings):
    """Refuses a folder that was made otherwise."""
    text = json.dumps(settings, sort_keys=True, indent=1)
    if path.is_file():
        if path.read_text() != text:
            raise ValueError(
                f"{path.parent} was made with other settings, see {path.name}: "
                "give another folder"
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if any(path.parent.iterdir()):
        raise ValueError(
            f"{path.parent} is not empty, and no {path.name} says why"
        )
    path.write_text(text)
