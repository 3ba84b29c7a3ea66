"""eSpeak NG through ctypes: text -> samples and phone boundaries.

The library and its data come with the ``espeakng-loader`` wheel (GPL-3,
hence an extra of its own: ``pip install speechbrain-privacy[demo]``). The
library keeps global state (its voices flutter), so every ``Synthesiser``
loads a copy of its own: the same sequence of utterances then gives the same
samples, whatever the process did before.
"""

import _ctypes
import ctypes
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SILENCE = "SIL"

_AUDIO_SYNCHRONOUS = 2
_PHONEME_EVENTS = 1
_EVENT_END, _EVENT_PHONEME, _EVENT_SAMPLE_RATE = 0, 7, 8
_RATE, _PITCH, _RANGE = 1, 3, 4
_UTF8 = 1
_STRESS = "',%="


class _Id(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


@dataclass(frozen=True)
class Speech:
    """Synthesised speech: float32 ``samples`` in [-1, 1] at ``rate`` Hz and
    ``phones``, a list of ``(start, end, name)`` in seconds that covers it."""

    samples: np.ndarray
    rate: int
    phones: list


class Synthesiser:
    """A copy of the library, loaded and initialised; a context manager.

    Raises
    ------
    ImportError
        If the extra is not installed, with the command that installs it.
    """

    def __init__(self):
        try:
            import espeakng_loader
        except ImportError:
            raise ImportError(
                "speech synthesis needs eSpeak NG: "
                "pip install 'speechbrain-privacy[demo]'"
            ) from None
        with tempfile.TemporaryDirectory() as folder:
            # The loader tells libraries apart by file: a new file, new state.
            copy = shutil.copy(espeakng_loader.get_library_path(), folder)
            self.library = ctypes.CDLL(str(Path(copy)))
        self.rate = self.library.espeak_Initialize(
            _AUDIO_SYNCHRONOUS,
            0,
            espeakng_loader.get_data_path().encode(),
            _PHONEME_EVENTS,
        )
        if self.rate <= 0:
            raise RuntimeError("eSpeak NG could not be initialised")
        # It has seeded its own noise with the time of day.
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        callback_type = ctypes.CFUNCTYPE(
            ctypes.c_int,
            ctypes.POINTER(ctypes.c_short),
            ctypes.c_int,
            ctypes.POINTER(_Event),
        )
        self._callback = callback_type(self._receive)  # must outlive the calls
        self.library.espeak_SetSynthCallback(self._callback)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.library.espeak_Terminate()
        _ctypes.dlclose(self.library._handle)

    def _receive(self, wave, n_samples, events):
        if wave and n_samples > 0:
            self._pieces.append(ctypes.string_at(wave, 2 * n_samples))
        i = 0
        while events[i].type != _EVENT_END:
            if events[i].type == _EVENT_PHONEME:
                name = bytes(events[i].id.string).decode("utf-8", "replace")
                self._events.append((events[i].audio_position / 1000, name))
            elif events[i].type == _EVENT_SAMPLE_RATE:
                self.rate = events[i].id.number or self.rate
            i += 1
        return 0

    def say(self, text, voice, words_per_minute=160, pitch=50, pitch_range=50):
        """Speaks a text.

        Arguments
        ---------
        text : str
        voice : str
            E.g. ``en-us+f2``.
        words_per_minute : int
            80 to 450.
        pitch, pitch_range : int
            0 to 100, relative to the voice.

        Returns
        -------
        Speech
        """
        self._pieces, self._events = [], []
        library = self.library
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice '{voice}'")
        library.espeak_SetParameter(_RATE, int(words_per_minute), 0)
        library.espeak_SetParameter(_PITCH, int(pitch), 0)
        library.espeak_SetParameter(_RANGE, int(pitch_range), 0)
        data = text.encode()
        failed = library.espeak_Synth(
            data,
            ctypes.c_size_t(len(data) + 1),
            ctypes.c_uint(0),
            ctypes.c_int(1),
            ctypes.c_uint(0),
            ctypes.c_uint(_UTF8),
            None,
            None,
        )
        library.espeak_Synchronize()
        samples = np.frombuffer(b"".join(self._pieces), np.int16)
        if failed or samples.size == 0:
            raise RuntimeError(f"eSpeak NG could not say '{text}'")
        return Speech(
            samples.astype(np.float32) / 32768,
            self.rate,
            phones_from_events(self._events, samples.size / self.rate),
        )


def phones_from_events(events, duration):
    """Phoneme events -> intervals that cover the utterance.

    Arguments
    ---------
    events : list of tuple
        ``(start in seconds, eSpeak's phoneme name)``.
    duration : float
        Of the audio, in seconds.

    Returns
    -------
    list of tuple
        ``(start, end, phone)``; pauses are ``SIL``, stress marks are gone,
        markers without sound are merged into the phone before them.

    Example
    -------
    >>> phones_from_events([(0.1, "dZ"), (0.2, "'i:"), (0.3, ";")], 0.5)
    [(0.0, 0.1, 'SIL'), (0.1, 0.2, 'dZ'), (0.2, 0.5, 'i:')]
    """
    starts = [(0.0, SILENCE)]
    for start, name in events:
        name = name.strip("\0").lstrip(_STRESS)
        if name in ("", ";", "|", "||"):
            continue
        phone = SILENCE if name.startswith("_") else name
        if phone == starts[-1][1] == SILENCE:
            continue
        if start <= starts[-1][0]:
            starts.pop()
        starts.append((min(start, duration), phone))
    ends = [start for start, _ in starts[1:]] + [duration]
    return [
        (start, end, phone)
        for (start, phone), end in zip(starts, ends)
        if end > start
    ]
