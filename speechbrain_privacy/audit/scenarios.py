"""Attackers who know less than the protection's own user.

Semi-informed attackers, the audit's rule, learn on protected speech. Those
here learnt on the same utterances without protection (Srivastava et al.,
"Evaluating voice conversion-based privacy protection against informed
attackers", ICASSP 2020).
"""

from dataclasses import asdict

from speechbrain_privacy.audit.trials import all_pairs
from speechbrain_privacy.metrics.evaluation import evaluate_trials

#: Of enrolments and trials: both unprotected (is the attacker good?), trials
#: protected, the same with trials rotated back, both protected.
SCENARIOS = ("unprotected", "ignorant", "aligned", "lazy-informed")


def attack_unaware(attackers, train, test, seed=0, **fit):
    """Trains on unprotected representations and scores protected ones.

    Arguments
    ---------
    attackers : dict
        Name -> function that makes a ``SpeakerAttacker``.
    train, test : tuple of Utterances
        Unprotected and protected, the same utterances in the same order.
    seed : int
    **fit
        Settings of the embedders' ``fit``.

    Returns
    -------
    dict
        Scenario -> ``attackers`` (name -> report of all pairs) and
        ``chosen``, the one that does best on the test, which errs on the
        attack's side. Only ``not_attacked``, and why, where protected and
        unprotected representations differ in size.

    Raises
    ------
    ValueError
        If the utterances are not the same.
    """
    for original, protected in (train, test):
        if original.data.ids != protected.data.ids:
            raise ValueError(
                "the unprotected run and this one do not hold the same "
                "utterances in the same order: attackers cannot compare them"
            )
        if original.data.dim != protected.data.dim:
            return {
                "not_attacked": f"{original.data.dim} channels without "
                f"protection, {protected.data.dim} with it"
            }
    original, protected = (some.data for some in test)
    speakers = test[0].labels("spk_id")
    groups, places, left, right = all_pairs(speakers)
    found = {scenario: {} for scenario in SCENARIOS}
    for name, make in attackers.items():
        attacker = make()
        attacker.fit(
            *train[0].known("spk_id"),
            seed=seed,
            name=f"unaware speaker, {name}",
            **fit,
        )
        rotation = attacker.rotation(train[1].data, train[0].data)
        scores = {
            "unprotected": attacker.score(original, groups),
            "ignorant": attacker.score(protected, groups, original),
            "aligned": attacker.score(protected, groups, original, rotation),
            "lazy-informed": attacker.score(protected, groups),
        }
        for scenario, backends in scores.items():
            for backend, matrix in backends.items():
                report = asdict(evaluate_trials(matrix[places], left, right))
                # What counts elsewhere is compared and drawn; this is not.
                for part in ("left_out", "hull", "by_speaker"):
                    del report[part]
                found[scenario][f"{name}-{backend}"] = {"all": report}
    return {
        scenario: {
            "attackers": reports,
            "chosen": min(
                reports, key=lambda n: reports[n]["all"]["overall"]["eer"]
            ),
        }
        for scenario, reports in found.items()
    }
