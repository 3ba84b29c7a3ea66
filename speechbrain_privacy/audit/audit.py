"""The audit: fresh attackers on a frozen model, scored on unseen speakers."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from speechbrain.utils.logger import get_logger

from speechbrain_privacy.audit.provenance import provenance
from speechbrain_privacy.audit.representations import extract
from speechbrain_privacy.dataio.manifest import ManifestError, replaced_file
from speechbrain_privacy.metrics.evaluation import evaluate_trials
from speechbrain_privacy.metrics.trials import SpeakerScores
from speechbrain_privacy.metrics.uncertainty import score_intervals

logger = get_logger(__name__)

SCHEMA = 1


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
        Name -> function that makes a fresh attacker (``!name:`` of
        ``NetworkAttacker``).
    attribute_attackers : dict
        The same for two-class attributes.
    attributes : list of str
        Two-class manifest columns to infer, e.g. ``["gender"]``.
    seed : int
        Of the attackers and the bootstrap.
    n_draws : int
        Bootstrap samples.
    """

    def __init__(
        self,
        taps,
        speaker_attackers,
        attribute_attackers,
        attributes=("gender",),
        seed=0,
        n_draws=1000,
    ):
        if not taps or not speaker_attackers:
            raise ValueError("an audit needs a tap and a speaker attacker")
        self.taps = taps
        self.speaker_attackers = speaker_attackers
        self.attribute_attackers = attribute_attackers
        self.attributes = list(attributes)
        self.seed = seed
        self.n_draws = n_draws

    def run(self, brain, train, test, progressbar=True):
        """Taps, attacks and scores.

        Arguments
        ---------
        brain : sb.Brain
            Trained; not changed.
        train, test : tuple
            ``(dataset, manifest)``: attackers learn on the first and are
            scored on the second. They must not share a speaker.
        progressbar : bool

        Returns
        -------
        dict
            JSON-ready: per tap the EER of each attacker with its interval,
            the number of trials, the attackers' learning curves, and where
            everything comes from.
        """
        train_set, train_manifest = train
        test_set, test_manifest = test
        self.check(train_manifest, test_manifest)
        seen = extract(brain, self.taps, train_set, progressbar=progressbar)
        unseen = extract(brain, self.taps, test_set, progressbar=progressbar)
        result = {
            "schema": SCHEMA,
            "scenario": "semi-informed, open set, cosine, single utterances",
            "seed": self.seed,
            "train": self._describe(train_manifest),
            "test": self._describe(test_manifest),
            "provenance": provenance(),
            "taps": {},
        }
        train_rows = {row["ID"]: row for row in train_manifest.rows}
        test_rows = {row["ID"]: row for row in test_manifest.rows}
        for tap in self.taps:
            result["taps"][tap] = self._attack(
                brain,
                tap,
                seen[tap],
                unseen[tap],
                train_rows,
                test_rows,
                progressbar,
            )
        return result

    def check(self, train, test):
        """Finds before a long training what would stop the audit after it.

        Arguments
        ---------
        train, test : Manifest

        Raises
        ------
        ManifestError
            If the two share a speaker, a test utterance has none, training
            has fewer than two, or an attribute has not two classes.
        """
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

    @staticmethod
    def _describe(manifest):
        return {
            "manifest": manifest.path.name,
            "fingerprint": manifest.fingerprint(),
            "utterances": len(manifest.rows),
            "speakers": len(manifest.known("spk_id")),
            "seconds": round(manifest.seconds, 1),
        }

    def _attack(
        self, brain, tap, seen, unseen, train_rows, test_rows, progressbar
    ):
        seconds = sum(train_rows[key]["duration"] for key in seen.ids)
        fit = {
            "frames_per_second": len(seen.frames) / seconds,
            "seed": self.seed,
            "device": brain.device,
            "progressbar": progressbar,
        }
        found = {"dim": seen.dim, "speaker": {}}
        for name, make in self.speaker_attackers.items():
            attacker = make()
            curve = attacker.fit(
                *self._labelled(seen, train_rows, "spk_id"),
                name=f"{tap}: speaker, {name}",
                **fit,
            )
            found["speaker"][name] = {
                **self._speaker_scores(
                    attacker.embed(unseen), unseen, test_rows
                ),
                "training": asdict(curve),
            }
        for attribute in self.attributes:
            found[attribute] = {}
            for name, make in self.attribute_attackers.items():
                found[attribute][name] = self._attribute(
                    make(), attribute, tap, name, seen, unseen,
                    train_rows, test_rows, fit,
                )  # fmt: skip
        return found

    @staticmethod
    def _labelled(data, rows, column):
        """The utterances whose value is known, and the values."""
        values = [rows[key].get(column, "") for key in data.ids]
        kept = [i for i, value in enumerate(values) if value]
        return data.subset(kept), [values[i] for i in kept]

    def _speaker_scores(self, embeddings, unseen, rows):
        """All pairs of audit utterances, each once."""
        speakers = np.array([rows[key]["spk_id"] for key in unseen.ids])
        first, second = np.triu_indices(len(speakers), 1)
        scores = (embeddings @ embeddings.T)[first, second]
        left, right = speakers[first], speakers[second]
        result = {
            "eer": self._pair_eer(scores, left, right),
            "n_mated": int((left == right).sum()),
            "n_nonmated": int((left != right).sum()),
        }
        for attribute in self.attributes:
            group = np.array(
                [rows[key].get(attribute, "") for key in unseen.ids]
            )
            same = (group[first] == group[second]) & (group[first] != "")
            result[f"eer_same_{attribute}"] = self._pair_eer(
                scores[same], left[same], right[same]
            )
        return result

    def _pair_eer(self, scores, left, right):
        """EER with its interval; None where one kind of trial is missing."""
        mated = left == right
        if mated.all() or not mated.any():
            return None
        return asdict(
            bootstrap_pair_eer(
                scores, left, right, n_draws=self.n_draws, seed=self.seed
            )
        )

    def _attribute(
        self, attacker, attribute, tap, name, seen, unseen,
        train_rows, test_rows, fit,
    ):  # fmt: skip
        data, labels = self._labelled(seen, train_rows, attribute)
        curve = attacker.fit(
            data, labels, name=f"{tap}: {attribute}, {name}", **fit
        )
        classes = list(attacker.classes)
        values = np.array(
            [test_rows[key].get(attribute, "") for key in unseen.ids]
        )
        scored = np.isin(values, classes)
        scores = attacker.class_scores(unseen)
        speakers = np.array([test_rows[key]["spk_id"] for key in unseen.ids])
        rate = bootstrap_group_eer(
            (scores[:, 0] - scores[:, 1])[scored],
            values[scored] == classes[0],
            speakers[scored],
            n_draws=self.n_draws,
            seed=self.seed,
        )
        return {
            "eer": asdict(rate),
            "positive": str(classes[0]),
            "n_scored": int(scored.sum()),
            "n_unknown": int((~scored).sum()),
            "training": asdict(curve),
        }


def write_json(path, content):
    """Writes a result whole or not at all; refuses NaN and infinity."""
    with replaced_file(Path(path)) as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.write("\n")
