"""What noise promises, beside what an attack proves of it."""

from speechbrain_privacy.metrics.bounds import epsilon_lower_bound
from speechbrain_privacy.report.tables import format_lines

HEADER = (
    "model",
    "inputs",
    "distance",
    "epsilon promised",
    "proven",
    "promised for an utterance",
)


def broken(found):
    """Whether an attack proves more than was promised.

    Arguments
    ---------
    found : dict
        Of ``audit.epsilon.check_epsilon``.

    Returns
    -------
    bool
    """
    return any(
        pair["proven"] > found["epsilon"] for pair in found["pairs"].values()
    )


def _promise(found, frames):
    text = f"{found['epsilon'] * frames:g}"
    if found["delta"]:
        text += f", delta {found['delta'] * frames:.2g}"
    return text


def format_epsilons(several, style="text"):
    """A line for each pair of inputs of each model, and what they mean.

    Arguments
    ---------
    several : list of dict
        Of ``runs.check_run_epsilon``.
    style : str
        See ``tables.format_lines``.

    Returns
    -------
    str
    """
    lines = [
        (
            found["name"],
            name,
            f"{pair['distance']:.2f}",
            _promise(found, 1),
            f"{pair['proven']:.2f}",
            _promise(found, round(found["frames"])),
        )
        for found in several
        for name, pair in found["pairs"].items()
    ]
    n = several[0]["draws"] // 2
    frames = several[0]["frames"]
    most = epsilon_lower_bound(n, n, 0, n)
    notes = [
        "worst: the two inputs farthest apart that there are; real: the "
        "farthest of 2000 frames, of two speakers.",
        f"An epsilon is one frame's, an utterance has {frames:.0f} on average; "
        f"{several[0]['draws']} draws of noise for "
        f"each input prove no more than {most:.1f}.",
    ]
    notes += [
        f"BROKEN: {found['name']} promises {found['epsilon']:g}, and an attack "
        "proves more."
        for found in several
        if broken(found)
    ]
    return "\n".join([format_lines([HEADER, *lines], style), "", *notes])
