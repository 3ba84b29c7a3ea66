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
from speechbrain_privacy.audit.provenance import provenance
from speechbrain_privacy.audit.representations import Representations, extract
from speechbrain_privacy.dataio.manifest import ManifestError

logger = get_logger(__name__)

SCHEMA = 2
TEXT = "text"


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
        self.taps = taps
        self.speaker_attackers = speaker_attackers
        self.attribute_attackers = attribute_attackers
        self.attributes = list(attributes)
        self.text_attackers = text_attackers or {}
        self.enrolment = list(enrolment)
        self.speeds = list(speeds)
        self.clear = clear
        self.weak = weak
        self.seed = seed
        self.cache = cache

    def run(self, brain, train, test, dev=None, progressbar=True):
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
        if dev is not None and _may_choose(dev[1], train[1], test[1]):
            splits["dev"] = dev
        given = {
            name: self._utterances(brain, name, *split, progressbar)
            for name, split in splits.items()
        }
        result = {
            "schema": SCHEMA,
            "scenario": "semi-informed, open set",
            "seed": self.seed,
            "suite": {
                "speaker": sorted(self.speaker_attackers),
                "attribute": sorted(self.attribute_attackers),
                "speeds": self.speeds,
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
        result["controls"] = self._controls(given, splits)
        if self.clear:
            result["too_weak"] = self._too_weak(result["taps"][self.clear])
        return result

    def _utterances(self, brain, name, dataset, manifest, progressbar):
        """Tap -> utterances; those at other speeds are other speakers."""
        rows = {row["ID"]: row for row in manifest.rows}
        speeds = self.speeds if name == "train" else [1.0]
        identity = self.cache and _identity(brain, manifest, self.taps)
        found = {
            speed: extract(
                brain,
                self.taps,
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
                    taps[tap],
                    tuple(_at_speed(rows[key], speed) for key in taps[tap].ids),
                )
                for speed, taps in found.items()
            }
            for tap in self.taps
        }

    def _attack(self, tap, given, settings):
        train = given["train"][tap]
        seconds = sum(row["duration"] for row in train[1.0].rows)
        fit = {
            "seed": self.seed,
            "frames_per_second": len(train[1.0].data.frames) / seconds,
            **settings,
        }
        test = given["test"][tap][1.0]
        dev = given["dev"][tap][1.0] if "dev" in given else None
        logger.info(f"attacking '{tap}'")
        found = {
            "dim": test.data.dim,
            "speaker": attack_speakers(
                self.speaker_attackers,
                _together(list(train.values())),
                test,
                dev,
                same=self.attributes,
                enrolment=self.enrolment,
                **fit,
            ),
        }
        for attribute in self.attributes:
            found[attribute] = attack_attribute(
                self.attribute_attackers,
                attribute,
                train[1.0],
                test,
                dev,
                **fit,
            )
        return found

    def _controls(self, given, splits):
        """What words alone give away."""
        controls = {}
        if self.text_attackers:
            read = {
                name: Utterances(
                    Transcripts(
                        tuple(row["ID"] for row in manifest.rows),
                        tuple(row.get("wrd", "") for row in manifest.rows),
                    ),
                    manifest.rows,
                )
                for name, (_, manifest) in splits.items()
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

    def _too_weak(self, clear):
        """Attackers that find too little where everything is to be found."""
        return sorted(
            name
            for name, attack in clear["speaker"]["attackers"].items()
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
            If the two share a speaker, a test utterance has none, training
            has fewer than two, an attribute has not two classes or differs
            within a speaker, or there are no words for an attacker who
            reads.
        """
        if self.text_attackers:
            for manifest in (train, test):
                if "wrd" not in manifest.columns or not manifest.known("wrd"):
                    raise ManifestError(
                        f"{manifest.path}: column 'wrd' is empty: an attacker "
                        "who reads needs words; take text_attackers out"
                    )
        common = train.known("spk_id") & test.known("spk_id")
        if common:
            raise ManifestError(
                f"{test.path}: speaker '{min(common)}' is also in "
                f"{train.path}: an audit's speakers must be new to "
                "the attacker"
            )
        if "" in test.values("spk_id"):
            raise ManifestError(
                f"{test.path}: an utterance has an empty 'spk_id': speaker "
                "trials need every speaker"
            )
        for manifest in (train, test):
            if len(manifest.known("spk_id")) < 2:
                raise ManifestError(
                    f"{manifest.path}: column 'spk_id' has fewer than two "
                    "speakers: an audit has nothing to tell apart"
                )
        if len(set(test.values("spk_id"))) == len(test.rows):
            raise ManifestError(
                f"{test.path}: no speaker has two utterances: there are no "
                "mated trials"
            )
        for attribute in self.attributes:
            known = train.known(attribute)
            if len(known) != 2 or not known <= test.known(attribute):
                raise ManifestError(
                    f"column '{attribute}' has {len(known)} values in "
                    f"{train.path}, {len(test.known(attribute))} in "
                    f"{test.path}: this audit infers two-class attributes "
                    "that both have; take it out of the audit's attributes"
                )

            for manifest in (train, test):
                _one_value_each(manifest, attribute)

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


def _one_value_each(manifest, attribute):
    """A speaker with two values of an attribute is a fault in a manifest."""
    found = {}
    for row in manifest.rows:
        value = row[attribute]
        if value and found.setdefault(row["spk_id"], value) != value:
            raise ManifestError(
                f"{manifest.path}: speaker '{row['spk_id']}' has both "
                f"'{found[row['spk_id']]}' and '{value}' in '{attribute}'"
            )


def _may_choose(dev, train, test):
    """Whether attackers can be chosen on these speakers, and why not."""
    speakers = dev.values("spk_id")
    distinct = set(speakers)
    if distinct & (train.known("spk_id") | test.known("spk_id")):
        logger.warning(
            f"{dev.path} shares speakers with training or test: attackers "
            "are not chosen on it"
        )
        return False
    # Some mated and some non-mated trials, and everybody named.
    return "" not in distinct and 1 < len(distinct) < len(speakers)


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


def _together(parts):
    """Utterances of several speeds as one training set."""
    if len(parts) == 1:
        return parts[0]
    rows = tuple(row for part in parts for row in part.rows)
    return Utterances(
        Representations.concatenated([part.data for part in parts]), rows
    )
