"""MiniSpeech: a corpus of synthetic speakers, made where it is needed.

Every speaker is a voice of eSpeak NG with a pitch, a pitch range, a speaking
rate and a vocal-tract warp of its own; every utterance has its own noise
level and gain. The texts are like AN4's: spelled names, numbers, dates,
commands. Phone boundaries come from the synthesiser. The corpus follows from
its settings alone, on any number of processes.

Synthetic speech is easier than real speech, to recognise and to attack:
MiniSpeech shows that a recipe works, not how well it protects anyone.
"""

import csv
import hashlib
import json
import multiprocessing
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter, resample
from tqdm import tqdm

from speechbrain_privacy.dataio.manifest import DATA_ROOT, write_manifest
from speechbrain_privacy.integrations.espeak import Synthesiser

SAMPLE_RATE = 16000
VERSION = 1
VOICES = {
    "F": ("f1", "f2", "f3", "f4", "f5"),
    "M": ("m1", "m2", "m3", "m4", "m6", "m7", "m8"),
}
COMMANDS = "YES|NO|GO|STOP|START|HELP|REPEAT|ERASE|ENTER|RUBOUT".split("|")
DIGITS = "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split()
TENS = "TWENTY THIRTY FORTY FIFTY SIXTY SEVENTY EIGHTY NINETY".split()
DAYS = "FIRST SECOND THIRD FOURTH FIFTH SIXTH SEVENTH EIGHTH NINTH TENTH"
MONTHS = (
    "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER "
    "NOVEMBER DECEMBER"
)
NAMES = (
    "ANNA ALEX BRUNO CARLA DAVID EMMA FRANK GRETA HUGO IRENE JONAS KAREN LEO "
    "MARIA NINA OSCAR PAULA QUINN ROSA SAM TINA URSULA VICTOR WANDA XENIA "
    "YUSUF ZOE"
)


@dataclass(frozen=True)
class Speaker:
    """One synthetic speaker."""

    spk_id: str
    gender: str
    voice: str
    pitch: int
    pitch_range: int
    words_per_minute: int
    warp: float


@dataclass(frozen=True)
class Settings:
    """What the corpus follows from."""

    n_speakers: int = 64
    n_utterances: int = 11
    seed: int = 1234
    version: int = VERSION

    def __post_init__(self):
        if self.n_speakers < 2 or self.n_utterances < 1:
            raise ValueError(
                "MiniSpeech needs two speakers and one utterance each; got "
                f"{self.n_speakers} and {self.n_utterances}"
            )

    @classmethod
    def lasting(cls, hours, n_speakers, seed=1234):
        """Settings for about so many hours (utterances last about 2.2 s)."""
        return cls(
            n_speakers, max(1, round(hours * 3600 / 2.2 / n_speakers)), seed
        )

    @property
    def name(self):
        """Folder name: readable, different for different settings."""
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()
        return f"minispeech-{self.n_speakers}x{self.n_utterances}-{digest[:8]}"


def cache_folder():
    """The user's cache folder for this package (``XDG_CACHE_HOME``)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "speechbrain-privacy"


def default_folder():
    """Where the default corpus is, or will be when it is first used."""
    return str(cache_folder() / Settings().name)


def draw_speakers(settings):
    """The corpus's speakers, alternately female and male.

    Arguments
    ---------
    settings : Settings

    Returns
    -------
    list of Speaker

    Example
    -------
    >>> [s.spk_id for s in draw_speakers(Settings(n_speakers=2))]
    ['f000', 'm000']
    """
    rng = np.random.default_rng([settings.seed, 0])
    speakers = []
    for i in range(settings.n_speakers):
        gender = "FM"[i % 2]
        voices = VOICES[gender]
        speakers.append(
            Speaker(
                spk_id=f"{gender.lower()}{i // 2:03d}",
                gender=gender,
                voice=f"en-us+{voices[(i // 2) % len(voices)]}",
                pitch=int(rng.integers(25, 76)),
                pitch_range=int(rng.integers(30, 71)),
                words_per_minute=int(rng.integers(90, 136)),
                warp=round(float(rng.uniform(0.88, 1.12)), 3),
            )
        )
    return speakers


def draw_text(rng):
    """One sentence of the grammar, in capitals."""

    def some(words, n=1):
        return [str(w) for w in rng.choice(words, n)]

    kind = rng.integers(4)
    if kind == 0:  # a spelled name
        words = list(some(NAMES.split())[0])
    elif kind == 1:  # a number
        words = some(DIGITS, rng.integers(3, 8))
    elif kind == 2:  # a date
        words = some(MONTHS.split()) + some(DAYS.split())
        words += ["NINETEEN", *some(TENS), *some(DIGITS[1:])]
    else:  # a command with letters and digits
        words = some(COMMANDS, rng.integers(1, 3))
        words += some(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), rng.integers(0, 4))
        words += some(DIGITS, rng.integers(0, 3))
    return " ".join(words)


def spoken(text):
    """What the synthesiser is given: words small, spelled letters capital."""
    return " ".join(w if len(w) == 1 else w.lower() for w in text.split())


def warped(samples, rate, warp):
    """Resamples to 16 kHz, formants moved by ``warp`` (1.1: up by 10 %)."""
    n = max(1, round(len(samples) * SAMPLE_RATE / (rate * warp)))
    return resample(samples, n)


def degraded(clean, rng):
    """Adds coloured noise at 12 to 35 dB SNR and a gain of -12 to 0 dB."""
    noise = rng.standard_normal(len(clean))
    colour = rng.uniform(0.0, 0.95)
    noise = lfilter([1.0], [1.0, -colour], noise)
    snr = 10 ** (rng.uniform(12, 35) / 20)
    power = np.sqrt(np.mean(clean**2))
    noisy = clean + noise * power / (snr * np.sqrt(np.mean(noise**2)))
    level = 10 ** (rng.uniform(-12, 0) / 20) * 0.9
    return noisy * level / np.max(np.abs(noisy))


def _speak(task):
    """All utterances of one speaker: manifest rows and phones."""
    number, speaker, settings, folder = task
    place = Path(folder) / "wav" / speaker.spk_id
    place.mkdir(parents=True, exist_ok=True)
    rows, phones = [], []
    with Synthesiser() as synthesiser:
        for k in range(settings.n_utterances):
            rng = np.random.default_rng([settings.seed, 1, number, k])
            text = draw_text(rng)
            speech = synthesiser.say(
                spoken(text),
                speaker.voice,
                # The warp shortens (or stretches) what is said.
                words_per_minute=round(speaker.words_per_minute / speaker.warp),
                pitch=speaker.pitch,
                pitch_range=speaker.pitch_range,
            )
            samples = warped(speech.samples, speech.rate, speaker.warp)
            name = f"{speaker.spk_id}-{k:04d}"
            path = place / f"{name}.flac"
            soundfile.write(path, degraded(samples, rng), SAMPLE_RATE)
            rows.append(
                {
                    "ID": name,
                    "duration": f"{len(samples) / SAMPLE_RATE:.4f}",
                    "wav": f"{DATA_ROOT}/wav/{speaker.spk_id}/{name}.flac",
                    "wrd": text,
                    "spk_id": speaker.spk_id,
                    "gender": speaker.gender,
                }
            )
            phones += [
                (name, start / speaker.warp, end / speaker.warp, phone)
                for start, end, phone in speech.phones
            ]
    return rows, phones


def make_minispeech(
    settings=None, folder=None, processes=None, progressbar=True
):
    """Synthesises the corpus, unless it is there already.

    Arguments
    ---------
    settings : Settings, optional
    folder : str or Path, optional
        Default: a folder named after the settings in the user's cache.
    processes : int, optional
        Default: one per core.
    progressbar : bool

    Returns
    -------
    Path
        The corpus: ``all.csv`` (manifest), ``alignments.csv``
        (``utt_id,start,end,phone``, seconds), ``speakers.csv``, ``wav/``.
    """
    settings = settings or Settings()
    folder = Path(folder) if folder else cache_folder() / settings.name
    done = folder / "settings.json"
    if done.is_file():
        if json.loads(done.read_text()) != asdict(settings):
            raise ValueError(
                f"{folder} holds a MiniSpeech with other settings: choose "
                "another folder"
            )
        return folder
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds something else: choose another")
    with Synthesiser():
        pass  # says now, not in a worker, that the extra is missing
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    speakers = draw_speakers(settings)
    tasks = [
        (i, speaker, settings, partial) for i, speaker in enumerate(speakers)
    ]
    rows, phones = [], []
    try:
        with multiprocessing.get_context("spawn").Pool(
            processes or os.cpu_count()
        ) as pool:
            for some_rows, some_phones in tqdm(
                pool.imap(_speak, tasks),
                total=len(tasks),
                desc="synthesising MiniSpeech",
                unit="speaker",
                disable=not progressbar,
            ):
                rows += some_rows
                phones += some_phones
        write_manifest(partial / "all.csv", rows)
        _write_table(
            partial / "alignments.csv",
            ("utt_id", "start", "end", "phone"),
            [(u, f"{s:.4f}", f"{e:.4f}", p) for u, s, e, p in phones],
        )
        _write_table(
            partial / "speakers.csv",
            asdict(speakers[0]),
            [asdict(speaker).values() for speaker in speakers],
        )
        (partial / "settings.json").write_text(json.dumps(asdict(settings)))
        if folder.exists():
            folder.rmdir()
        try:
            partial.replace(folder)
        except OSError:  # another process was faster, with the same corpus
            if not done.is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write_table(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
