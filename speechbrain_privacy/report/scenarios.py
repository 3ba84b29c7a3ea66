"""What attackers find who know less of the protection."""

from speechbrain_privacy.report.tables import format_lines, interval_text

HEADER = (
    "model",
    "representation",
    "what the attacker knows",
    "EER %",
    "attacker",
)


def scenario_lines(runs):
    """What attackers find who know less, where they were let loose.

    Arguments
    ---------
    runs : list of dict
        From ``summary.load_run``.

    Returns
    -------
    list of tuple of str
        Under ``HEADER``; the last of each representation is
        semi-informed. The attacker that is strongest on the test speakers
        counts everywhere here.
    """
    lines = []
    for run in runs:
        for tap, scenarios in run["audit"].get("unaware", {}).items():
            who = (f"{run['name']}/{run['seed']}", tap)
            if "not_attacked" in scenarios:
                lines.append((*who, scenarios["not_attacked"], "-", "-"))
                continue
            semi = run["audit"]["taps"][tap]["speaker"]["attackers"]
            best = min(
                semi, key=lambda n: semi[n]["all"]["intervals"]["eer"]["value"]
            )
            semi = {"attackers": semi, "chosen": best}
            for scenario, attack in (
                *scenarios.items(),
                ("semi-informed", semi),
            ):
                report = attack["attackers"][attack["chosen"]]["all"]
                rate = interval_text(report["intervals"]["eer"])
                lines.append((*who, scenario, rate, attack["chosen"]))
    return lines


def describe_scenarios(runs):
    """The table of ``scenario_lines`` as text, or nothing."""
    lines = scenario_lines(runs)
    return format_lines([HEADER, *lines]) if lines else ""
