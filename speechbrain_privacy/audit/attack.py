"""One tap under attack: every attacker trained, scored and described."""

from dataclasses import asdict, dataclass

import numpy as np

from speechbrain_privacy.audit.trials import (
    all_pairs,
    enrolments_of,
    shuffled_speakers,
)
from speechbrain_privacy.metrics.evaluation import evaluate_trials
from speechbrain_privacy.metrics.fairness import privacy_by_group
from speechbrain_privacy.metrics.legal import legal_criteria
from speechbrain_privacy.metrics.trials import SpeakerScores
from speechbrain_privacy.metrics.uncertainty import score_intervals
from speechbrain_privacy.metrics.verification import eer, equal_error_rate

FUSION = "fusion"
#: To choose an attacker on fewer speakers is to draw lots.
DEV_SPEAKERS = 10


@dataclass(frozen=True)
class Utterances:
    """What an attacker is given: representations and their labels.

    ``data`` is ``Representations`` or alike; ``rows[i]`` the manifest row of
    utterance i.
    """

    data: object
    rows: tuple

    def labels(self, column):
        """The column's value for each utterance, '' where unknown."""
        return np.array([row.get(column, "") for row in self.rows])

    def known(self, column):
        """The utterances whose value is known, and the values."""
        values = self.labels(column)
        kept = np.flatnonzero(values != "")
        if len(kept) == len(values):
            return self.data, values
        return self.data.subset(kept), values[kept]


def attack_speakers(
    attackers, train, test, dev=None, same=(), enrolment=(), seed=0, **fit
):
    """Trains speaker attackers and scores all pairings of audit speakers.

    Arguments
    ---------
    attackers : dict
        Name -> function that makes a ``SpeakerAttacker``.
    train, test : Utterances
    dev : Utterances, optional
        Of other speakers: if there are ten or more, the attacker that does
        best on them counts. Else it is the one that does best on the test,
        which errs on the attack's side.
    same : sequence of str
        Columns for trials within one class.
    enrolment : sequence of int
        Sizes of further speaker models.
    seed : int
    **fit
        Settings of the embedders' ``fit``.

    Returns
    -------
    dict
        ``attackers``: name -> pairings, learning curve, EER on the
        development speakers; ``chosen``, ``chosen_on``; of the chosen one
        ``null``: the levels of shuffled speakers, ``groups``: privacy by
        group of each column in ``same``, and ``legal``: linking and singling
        out for each size of speaker models.
    """
    found, test_scores = {}, {}
    for name, make in attackers.items():
        attacker = make()
        curve = attacker.fit(
            *train.known("spk_id"), seed=seed, name=f"speaker, {name}", **fit
        )
        scored = _score(attacker, test, enrolment, seed)
        on_dev = _score(attacker, dev, (), seed) if dev else {}
        for backend, matrices in scored.items():
            full = f"{name}-{backend}"
            test_scores[full] = matrices
            found[full] = {"training": asdict(curve)}
            if dev:
                found[full]["dev_scores"] = on_dev[backend]["all"]
    if len(found) > 1:
        test_scores[FUSION] = fused(list(test_scores.values()))
        found[FUSION] = {"training": None}
        if dev:
            found[FUSION]["dev_scores"] = fused(
                [{"all": a["dev_scores"]} for n, a in found.items()
                 if n != FUSION]
            )["all"]  # fmt: skip
    for name, attack in found.items():
        attack |= _pairings(test_scores[name], test, same, enrolment, seed)
        if dev:
            attack["dev_eer"] = _all_pairs_eer(attack.pop("dev_scores"), dev)
    on_dev = _enough(dev)
    chosen = min(
        found,
        key=lambda name: found[name]["dev_eer"]
        if on_dev
        else found[name]["all"]["overall"]["eer"],
    )
    for name, attack in found.items():
        for pairing in _reports(attack) if name != chosen else ():
            # Only what counts is compared and drawn.
            for part in ("left_out", "hull", "by_speaker"):
                del pairing[part]
    _, places, left, right = all_pairs(test.labels("spk_id"))
    scores = test_scores[chosen]["all"][places]
    null = shuffled_speakers(scores, test.labels("spk_id"), seed=seed)
    return {
        "attackers": found,
        "chosen": chosen,
        "chosen_on": _chosen_on(on_dev),
        "null": {name: asdict(level) for name, level in null.items()},
        "groups": {
            column: _by_group(scores, left, right, test, column)
            for column in same
        },
        "legal": _legal(test_scores[chosen], test, enrolment, seed),
    }


def _legal(matrices, test, enrolment, seed):
    """Legal criteria by pairing; why not, where there are too few items."""
    speakers = test.labels("spk_id")
    every = _models(speakers, enrolment, seed)
    found = {}
    for pairing, matrix in matrices.items():
        groups = every[pairing]
        scores = np.array(matrix, float)
        for row, group in zip(scores, groups):
            row[list(group)] = np.nan
        models = [speakers[group[0]] for group in groups]
        try:
            criteria = legal_criteria(scores, models, speakers, seed=seed)
        except ValueError as fault:
            found[pairing] = {"not_searched": str(fault)}
        else:
            found[pairing] = {n: asdict(v) for n, v in criteria.items()}
    return found


def _models(speakers, enrolment, seed):
    """Pairing -> the utterances of each speaker model."""
    models = {"all": all_pairs(speakers)[0]}
    for size in enrolment:
        models[f"enrolment_{size}"] = enrolments_of(speakers, size, seed)[0]
    return models


def _by_group(scores, left, right, test, column):
    """Privacy of each group; why not, where groups cannot be compared."""
    group_of = dict(zip(test.labels("spk_id"), test.labels(column)))
    try:
        return asdict(privacy_by_group(scores, left, right, group_of))
    except ValueError as fault:
        return {"not_compared": str(fault)}


def _score(attacker, some, enrolment, seed):
    """Back-end -> pairing -> matrix ``[models, utterances]``."""
    models = _models(some.labels("spk_id"), enrolment, seed)
    embeddings = attacker.embed(some.data)
    result = {}
    for pairing, groups in models.items():
        if not groups:
            continue
        found = attacker.compare(embeddings, embeddings, groups)
        for backend, matrix in found.items():
            result.setdefault(backend, {})[pairing] = matrix
    return result


def fused(attacks):
    """Mean of attackers' scores, each brought to one scale.

    Arguments
    ---------
    attacks : list of dict
        Pairing -> scores.

    Returns
    -------
    dict
    """
    return {
        pairing: np.mean(
            [
                (a[pairing] - a[pairing].mean()) / max(a[pairing].std(), 1e-12)
                for a in attacks
            ],
            axis=0,
        )
        for pairing in attacks[0]
    }


def _all_pairs_eer(matrix, some):
    _, places, left, right = all_pairs(some.labels("spk_id"))
    scores, mated = matrix[places], left == right
    return equal_error_rate(scores[mated], scores[~mated])


def _pairings(matrices, test, same, enrolment, seed):
    """Every pairing's report; None where one kind of trial is missing."""
    speakers = test.labels("spk_id")
    _, places, left, right = all_pairs(speakers)
    scores = matrices["all"][places]
    result = {"all": _report(scores, left, right)}
    for column in same:
        values = test.labels(column)
        kept = (values[places[0]] == values[places[1]]) & (
            values[places[0]] != ""
        )
        result[f"same_{column}"] = _report(
            scores[kept], left[kept], right[kept]
        )
    for size in enrolment:
        pairing = f"enrolment_{size}"
        if pairing in matrices:
            _, places, left, right = enrolments_of(speakers, size, seed)
            result[pairing] = _report(matrices[pairing][places], left, right)
    return result


def _reports(attack):
    return [
        part
        for part in attack.values()
        if isinstance(part, dict) and "overall" in part
    ]


def _report(scores, left, right):
    mated = left == right
    if mated.all() or not mated.any():
        return None
    return asdict(evaluate_trials(scores, left, right))


def attack_attribute(
    attackers, attribute, train, test, dev=None, seed=0, **fit
):
    """Trains attackers of a two-class attribute and scores them.

    Arguments
    ---------
    attackers : dict
        Name -> function that makes an attacker with ``class_scores``.
    attribute : str
    train, test : Utterances
    dev : Utterances, optional
        Of other speakers of both classes, to choose the attacker.
    seed : int
    **fit
        Settings of the attackers' ``fit``.

    Returns
    -------
    dict
        ``attackers``: name -> ``eer``, ``auc`` and ``min_cllr`` with
        intervals, the number of utterances, the learning curve; ``chosen``
        and ``chosen_on``.
    """
    found = {}
    for name, make in attackers.items():
        attacker = make()
        curve = attacker.fit(
            *train.known(attribute), seed=seed, name=f"{attribute}, {name}",
            **fit,
        )  # fmt: skip
        data, n_unknown = _class_scores(attacker, attribute, test)
        intervals = score_intervals(
            data, ("eer", "auc", "min_cllr"), strata=data.classes
        )
        found[name] = {
            **{metric: asdict(value) for metric, value in intervals.items()},
            "positive": str(attacker.classes[0]),
            "n_scored": data.pooled.n_mated + data.pooled.n_nonmated,
            "n_unknown": n_unknown,
            "training": asdict(curve),
        }
        if dev and len(set(dev.known(attribute)[1])) == 2:
            data, _ = _class_scores(attacker, attribute, dev)
            found[name]["dev_eer"] = eer(data.blocks())
    on_dev = _enough(dev) and all("dev_eer" in a for a in found.values())
    return {
        "attackers": found,
        "chosen": min(
            found,
            key=lambda name: found[name]["dev_eer"]
            if on_dev
            else found[name]["eer"]["value"],
        ),
        "chosen_on": _chosen_on(on_dev),
    }


def _class_scores(attacker, attribute, some):
    """Scores of the first class against the second, and how many lack one."""
    values = some.labels(attribute)
    scored = np.isin(values, attacker.classes)
    scores = attacker.class_scores(some.data)
    data = SpeakerScores.of_classes(
        (scores[:, 0] - scores[:, 1])[scored],
        values[scored] == attacker.classes[0],
        some.labels("spk_id")[scored],
    )
    return data, int((~scored).sum())


def _enough(dev):
    return dev is not None and (
        len(np.unique(dev.labels("spk_id"))) >= DEV_SPEAKERS
    )


def _chosen_on(on_dev):
    return "development speakers" if on_dev else "test speakers"
