"""Attackers who know less than the protection's own user.

Semi-informed attackers, the audit's rule, learn on protected speech. Those
here learnt on the same utterances without protection (Srivastava et al.,
"Evaluating voice conversion-based privacy protection against informed
attackers", ICASSP 2020).
"""

from dataclasses import asdict

from speechbrain_privacy.attacks.backends import procrustes, unit
from speechbrain_privacy.audit.attack import FUSION, fused
from speechbrain_privacy.audit.trials import all_pairs
from speechbrain_privacy.metrics.evaluation import evaluate_trials

#: Of enrolments and trials: both unprotected (is the attacker good?), trials
#: protected, the same with trials rotated back, both protected.
SCENARIOS = ("unprotected", "ignorant", "aligned", "lazy-informed")


def attack_unaware(attackers, train, pairs, test, seed=0, **fit):
    """Trains on unprotected representations and scores protected ones.

    Arguments
    ---------
    attackers : dict
        Name -> function that makes a ``SpeakerAttacker``.
    train : Utterances
        Unprotected; what attackers learn on.
    pairs, test : tuple of Utterances
        Unprotected and protected, the same utterances in the same order:
        of training speakers, for the rotation, and of audit speakers.
    seed : int
    **fit
        Settings of the embedders' ``fit``.

    Returns
    -------
    dict
        Scenario -> ``attackers`` (name -> report of all pairs; their fusion
        among them) and ``chosen``, the one that does best on the test, which
        errs on the attack's side. Only ``not_attacked``, and why, where
        protected and unprotected representations differ in size.
    """
    original, protected = (some.data for some in test)
    if original.dim != protected.dim:
        return {
            "not_attacked": f"{original.dim} channels without protection, "
            f"{protected.dim} with it"
        }
    groups, places, left, right = all_pairs(test[0].labels("spk_id"))
    scores = {scenario: {} for scenario in SCENARIOS}
    for name, make in attackers.items():
        attacker = make()
        attacker.fit(
            *train.known("spk_id"),
            seed=seed,
            name=f"unaware speaker, {name}",
            **fit,
        )
        clear, hidden = attacker.embed(original), attacker.embed(protected)
        rotation = procrustes(
            attacker.embed(pairs[1].data), attacker.embed(pairs[0].data)
        )
        # Enrolment and tests of each.
        sides = (
            (clear, clear),
            (clear, hidden),
            (clear, unit(hidden) @ rotation),
            (hidden, hidden),
        )
        for scenario, both in zip(SCENARIOS, sides):
            for backend, matrix in attacker.compare(*both, groups).items():
                scores[scenario][f"{name}-{backend}"] = matrix[places]
    return {
        scenario: _reports(found, left, right)
        for scenario, found in scores.items()
    }


def _reports(scores, left, right):
    if len(scores) > 1:
        parts = [{"all": some} for some in scores.values()]
        scores = {**scores, FUSION: fused(parts)["all"]}
    reports = {}
    for name, some in scores.items():
        report = asdict(evaluate_trials(some, left, right))
        # What counts elsewhere is compared and drawn; this is not.
        for part in ("left_out", "hull", "by_speaker"):
            del report[part]
        reports[name] = {"all": report}
    return {
        "attackers": reports,
        "chosen": min(
            reports, key=lambda name: reports[name]["all"]["overall"]["eer"]
        ),
    }
