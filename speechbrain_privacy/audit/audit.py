"""The audit: fresh attackers on a frozen model, scored on unseen speakers."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from speechbrain.utils.logger import get_logger

from speechbrain_privacy.audit.provenance import fingerprint, provenance
from speechbrain_privacy.audit.representations import extract
from speechbrain_privacy.dataio.manifest import ManifestError, replaced_file
from speechbrain_privacy.metrics.uncertainty import (
    bootstrap_group_eer,
    bootstrap_pair_eer,
)

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
        common = train_manifest.known("spk_id") & test_manifest.known("spk_id")
        if common:
            raise ManifestError(
                f"{test_manifest.path}: speaker '{min(common)}' is also in "
                f"{train_manifest.path}: an audit's speakers must be new to "
                "the attacker"
            )
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
                tap, seen[tap], unseen[tap], train_rows, test_rows, progressbar
            )
        return result

    @staticmethod
    def _describe(manifest):
        return {
            "manifest": manifest.path.name,
            "fingerprint": fingerprint(manifest),
            "utterances": len(manifest.rows),
            "speakers": len(manifest.known("spk_id")),
            "seconds": round(manifest.seconds, 1),
        }

    def _attack(self, tap, seen, unseen, train_rows, test_rows, progressbar):
        seconds = sum(train_rows[key]["duration"] for key in seen.ids)
        fit = {
            "frames_per_second": len(seen.frames) / seconds,
            "seed": self.seed,
            "progressbar": progressbar,
        }
        found = {"dim": seen.dim, "speaker": {}}
        for name, make in self.speaker_attackers.items():
            attacker = make()
            curve = attacker.fit(
                seen,
                [train_rows[key]["spk_id"] for key in seen.ids],
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

    def _speaker_scores(self, embeddings, unseen, rows):
        """All pairs of audit utterances, each once."""
        speakers = np.array([rows[key].get("spk_id", "") for key in unseen.ids])
        if (speakers == "").any():
            raise ManifestError(
                "an audit utterance has an empty 'spk_id': speaker trials "
                "need every speaker"
            )
        first, second = np.triu_indices(len(speakers), 1)
        scores = (embeddings @ embeddings.T)[first, second]
        left, right = speakers[first], speakers[second]
        result = {
            "eer": asdict(self._pair_eer(scores, left, right)),
            "n_mated": int((left == right).sum()),
            "n_nonmated": int((left != right).sum()),
        }
        for attribute in self.attributes:
            group = np.array(
                [rows[key].get(attribute, "") for key in unseen.ids]
            )
            same = (group[first] == group[second]) & (group[first] != "")
            result[f"eer_same_{attribute}"] = asdict(
                self._pair_eer(scores[same], left[same], right[same])
            )
        return result

    def _pair_eer(self, scores, left, right):
        return bootstrap_pair_eer(
            scores, left, right, n_draws=self.n_draws, seed=self.seed
        )

    def _attribute(
        self, attacker, attribute, tap, name, seen, unseen,
        train_rows, test_rows, fit,
    ):  # fmt: skip
        known = [train_rows[key].get(attribute, "") for key in seen.ids]
        kept = [i for i, value in enumerate(known) if value]
        classes = sorted({known[i] for i in kept})
        if len(classes) != 2:
            raise ManifestError(
                f"column '{attribute}' has {len(classes)} values in the "
                "attacker's training data; this attack reads two-class "
                "attributes"
            )
        curve = attacker.fit(
            seen.subset(kept),
            [known[i] for i in kept],
            name=f"{tap}: {attribute}, {name}",
            **fit,
        )
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
            "positive": classes[0],
            "n_scored": int(scored.sum()),
            "n_unknown": int((~scored).sum()),
            "training": asdict(curve),
        }


def write_json(path, content):
    """Writes a result whole or not at all; refuses NaN and infinity."""
    with replaced_file(Path(path)) as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.write("\n")
