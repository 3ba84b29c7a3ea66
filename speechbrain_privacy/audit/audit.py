"""The audit: fresh attackers on a frozen model, scored on unseen speakers."""

import hashlib
from pathlib import Path

from speechbrain.utils.logger import get_logger

from speechbrain_privacy.attacks.text import Transcripts
from speechbrain_privacy.audit.attack import (
    Utterances,
    attack_attribute,
    attack_speakers,
)
from speechbrain_privacy.audit.checks import check_splits, may_choose
from speechbrain_privacy.audit.provenance import provenance, settings_of
from speechbrain_privacy.audit.representations import (
    Representations,
    Tap,
    extract,
)
from speechbrain_privacy.audit.scenarios import attack_unaware

logger = get_logger(__name__)

SCHEMA = 2
TEXT = "text"
WAVEFORM = "waveform"
#: Splits that attackers learn on.
TRAIN = ("train", "unprotected-train")


class Audit:
    """Attacks each tap of a model with attackers trained from scratch.

    The attackers learn on training speakers (their utterances run through
    the same frozen model: semi-informed, the strongest of the usual
    scenarios) and are scored on the audit speakers alone.

    Arguments
    ---------
    taps : dict
        Name -> ``Tap``.
    speaker_attackers : dict
        Name -> function that makes a fresh ``SpeakerAttacker``.
    attribute_attackers : dict
        Name -> function that makes an attacker of two-class attributes.
    attributes : list of str
        Two-class manifest columns to infer, e.g. ``["gender"]``.
    text_attackers : dict, optional
        Speaker attackers on transcripts: what words alone give away.
    waveform_attackers : dict, optional
        Speaker attackers on the audio itself: what there is to find without
        any features.
    enrolment : list of int
        Sizes of speaker models, beside single utterances.
    speeds : list of float
        Training utterances at other speeds count as other speakers; 1.0
        must be among them. More speakers make a stronger attacker, at the
        cost of as many times the training.
    clear : str, optional
        The tap that shows what the model was given. An attacker that is not
        better than ``weak`` there is reported as too weak.
    weak : float
        EER.
    seed : int
        Of the attackers.
    cache : str or Path, optional
        Folder for the representations, which are then read from disk as
        they are needed, and used again for the same model and data.
    """

    def __init__(
        self,
        taps,
        speaker_attackers,
        attribute_attackers,
        attributes=("gender",),
        text_attackers=None,
        waveform_attackers=None,
        enrolment=(5,),
        speeds=(1.0,),
        clear=None,
        weak=0.25,
        seed=0,
        cache=None,
    ):
        if not taps or not speaker_attackers:
            raise ValueError("an audit needs a tap and a speaker attacker")
        if clear is not None and clear not in taps:
            raise ValueError(f"clear is '{clear}', which is no tap")
        if 1.0 not in speeds:
            raise ValueError("an audit needs training speech at speed 1.0")
        if waveform_attackers and WAVEFORM in taps:
            raise ValueError(f"'{WAVEFORM}' names what waveform_attackers hear")
        self.taps = taps
        self.speaker_attackers = speaker_attackers
        self.attribute_attackers = attribute_attackers
        self.attributes = list(attributes)
        self.text_attackers = text_attackers or {}
        self.waveform_attackers = waveform_attackers or {}
        self.enrolment = list(enrolment)
        self.speeds = list(speeds)
        self.clear = clear
        self.weak = weak
        self.seed = seed
        self.cache = cache

    def run(
        self, brain, train, test, dev=None, unprotected=None, progressbar=True
    ):
        """Taps, attacks and scores.

        Arguments
        ---------
        brain : sb.Brain
            Trained; not changed.
        train, test : tuple
            ``(dataset, manifest)``: attackers learn on the first and are
            scored on the second. They must not share a speaker.
        dev : tuple, optional
            Other speakers, to choose the attacker that counts.
        unprotected : tuple, optional
            ``(brain, train, test)``: the same utterances and taps without
            protection, for attackers who know nothing else.
        progressbar : bool

        Returns
        -------
        dict
            JSON-ready. Per tap and attacker all metrics with their intervals
            for every pairing, the learning curves, the levels of shuffled
            speakers; and where everything comes from.
        """
        self.check(train[1], test[1])
        splits = {"train": train, "test": test}
        if dev is not None and may_choose(dev[1], train[1], test[1]):
            splits["dev"] = dev
        given = {
            name: self._utterances(brain, name, *split, progressbar)
            for name, split in splits.items()
        }
        without = unprotected and self._unprotected(
            unprotected, splits, given, progressbar
        )
        result = {
            "schema": SCHEMA,
            "scenario": "semi-informed, open set",
            "seed": self.seed,
            "suite": {
                "speaker": sorted(self.speaker_attackers),
                "attribute": sorted(self.attribute_attackers),
                "speeds": self.speeds,
            },
            "attackers": {
                "speaker": settings_of(self.speaker_attackers),
                "attribute": settings_of(self.attribute_attackers),
                "text": settings_of(self.text_attackers),
                "waveform": settings_of(self.waveform_attackers),
            },
            "clear": self.clear,
            **{
                name: self._describe(manifest)
                for name, (_, manifest) in splits.items()
            },
            "provenance": provenance(),
            "taps": {},
        }
        settings = {"device": brain.device, "progressbar": progressbar}
        for tap in self.taps:
            result["taps"][tap] = self._attack(tap, given, settings)
        result["controls"] = self._controls(given, splits, settings)
        if without:
            result["unaware"] = self._unaware(given, without, settings)
        if self.clear:
            result["too_weak"] = self._too_weak(
                result["taps"][self.clear]["speaker"]
            )
            if self.waveform_attackers:
                result["too_weak"] += [
                    f"{name} ({WAVEFORM})"
                    for name in self._too_weak(result["controls"][WAVEFORM])
                ]
        return result

    def _utterances(
        self, brain, name, dataset, manifest, progressbar, taps=None
    ):
        """Tap -> utterances; those at other speeds are other speakers."""
        rows = {row["ID"]: row for row in manifest.rows}
        speeds = self.speeds if name in TRAIN else [1.0]
        if taps is None:
            taps = {**self.taps}
            if self.waveform_attackers:
                taps[WAVEFORM] = Tap()
        identity = self.cache and _identity(brain, manifest, taps)
        found = {
            speed: extract(
                brain,
                taps,
                dataset,
                progressbar=progressbar,
                speed=speed,
                folder=identity
                and Path(self.cache) / identity[:16] / f"{name}-{speed:g}",
                identity=identity,
            )
            for speed in speeds
        }
        return {
            tap: {
                speed: Utterances(
                    data[tap],
                    tuple(_at_speed(rows[key], speed) for key in data[tap].ids),
                )
                for speed, data in found.items()
            }
            for tap in taps
        }

    def _attack(self, tap, given, settings):
        train = given["train"][tap]
        fit = {"frames_per_second": _rate(train[1.0]), **settings}
        test = given["test"][tap][1.0]
        dev = given["dev"][tap][1.0] if "dev" in given else None
        found = {
            "dim": test.data.dim,
            "speaker": self._attack_speakers(
                self.speaker_attackers, tap, given, settings
            ),
        }
        for attribute in self.attributes:
            found[attribute] = attack_attribute(
                self.attribute_attackers,
                attribute,
                train[1.0],
                test,
                dev,
                seed=self.seed,
                **fit,
            )
        return found

    def _attack_speakers(self, attackers, tap, given, settings):
        logger.info(f"attacking '{tap}'")
        train = given["train"][tap]
        return attack_speakers(
            attackers,
            _together(list(train.values())),
            given["test"][tap][1.0],
            given["dev"][tap][1.0] if "dev" in given else None,
            same=self.attributes,
            enrolment=self.enrolment,
            seed=self.seed,
            frames_per_second=_rate(train[1.0]),
            **settings,
        )

    def _controls(self, given, splits, settings):
        """What words alone give away, and the audio as it is."""
        controls = {}
        if self.waveform_attackers:
            controls[WAVEFORM] = self._attack_speakers(
                self.waveform_attackers, WAVEFORM, given, settings
            )
        if self.text_attackers:
            read = {
                name: Utterances(
                    Transcripts(
                        tuple(row["ID"] for row in rows),
                        tuple(row["wrd"] for row in rows),
                    ),
                    rows,
                )
                for name, rows in (
                    (name, tuple(r for r in manifest.rows if r.get("wrd")))
                    for name, (_, manifest) in splits.items()
                )
            }
            controls[TEXT] = attack_speakers(
                self.text_attackers,
                read["train"],
                read["test"],
                read.get("dev"),
                same=self.attributes,
                enrolment=self.enrolment,
                seed=self.seed,
            )
        return controls

    def _unprotected(self, unprotected, splits, given, progressbar):
        """Split -> tap -> utterances without protection, checked."""
        brain, *both = unprotected
        modules = dict(brain.modules.named_modules())
        taps = {
            name: tap
            for name, tap in self.taps.items()
            if name != self.clear and tap.module in modules
        }
        found = {}
        for split, (dataset, manifest) in zip(("train", "test"), both):
            if manifest.fingerprint() != splits[split][1].fingerprint():
                raise ValueError(
                    f"the unprotected run's {split} data are not this run's: "
                    "attackers cannot compare them"
                )
            found[split] = self._utterances(
                brain,
                f"unprotected-{split}",
                dataset,
                manifest,
                progressbar,
                taps,
            )
            for tap, by_speed in found[split].items():
                if by_speed[1.0].data.ids != given[split][tap][1.0].data.ids:
                    raise ValueError(
                        f"the unprotected run leaves out other {split} "
                        "utterances: attackers cannot compare them"
                    )
        return found

    def _unaware(self, given, without, settings):
        """Attackers who learnt on the same utterances without protection."""
        found = {}
        for tap in self.taps:
            if tap == self.clear:
                continue
            if tap not in without["train"]:
                found[tap] = {"not_attacked": "the unprotected model has none"}
                continue
            train, test = (without[split][tap] for split in ("train", "test"))
            found[tap] = attack_unaware(
                self.speaker_attackers,
                _together(list(train.values())),
                (train[1.0], given["train"][tap][1.0]),
                (test[1.0], given["test"][tap][1.0]),
                seed=self.seed,
                frames_per_second=_rate(train[1.0]),
                **settings,
            )
        return found

    def _too_weak(self, clear):
        """Attackers that find too little where everything is to be found."""
        return sorted(
            name
            for name, attack in clear["attackers"].items()
            if attack["all"]["overall"]["eer"] > self.weak
        )

    def check(self, train, test):
        """Finds before a long training what would stop the audit after it.

        Arguments
        ---------
        train, test : Manifest

        Raises
        ------
        ManifestError
            See ``checks.check_splits``.
        """
        check_splits(train, test, self.attributes, bool(self.text_attackers))

    @staticmethod
    def _describe(manifest):
        return {
            "manifest": manifest.path.name,
            "fingerprint": manifest.fingerprint(),
            "utterances": len(manifest.rows),
            "speakers": len(manifest.known("spk_id")),
            "seconds": round(manifest.seconds, 1),
        }


def _at_speed(row, speed):
    """A row whose speaker tells the speed, unless it is 1."""
    if speed == 1.0 or not row.get("spk_id"):
        return row
    return {**row, "spk_id": f"{row['spk_id']}@{speed:g}"}


def _identity(brain, manifest, taps):
    """Names the model, the data and the taps of cached representations."""
    digest = hashlib.sha256(repr(brain.modules).encode())
    for row in manifest.rows:
        # The fingerprint leaves out where the audio lies, and what it is.
        path = Path(row["wav"])
        state = path.stat() if path.is_file() else None
        stamp = (state.st_size, state.st_mtime_ns) if state else ()
        digest.update(f"{row['ID']} {path} {stamp}".encode())
    for name, value in sorted(brain.modules.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(manifest.fingerprint().encode())
    for name, tap in taps.items():
        digest.update(f"{name} {tap.module} {tap.softmax}".encode())
    return digest.hexdigest()


def _rate(some):
    """Frames per second."""
    seconds = sum(row["duration"] for row in some.rows)
    return len(some.data.frames) / seconds


def _together(parts):
    """Utterances of several speeds as one training set."""
    if len(parts) == 1:
        return parts[0]
    rows = tuple(row for part in parts for row in part.rows)
    return Utterances(
        Representations.concatenated([part.data for part in parts]), rows
    )
