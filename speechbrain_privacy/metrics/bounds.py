"""How private a mechanism is at most, by what an attacker achieves."""

import math

from scipy.stats import beta


def clopper_pearson(hits, trials, confidence=0.95):
    """An exact interval of a share.

    Arguments
    ---------
    hits, trials : int
    confidence : float

    Returns
    -------
    tuple of float

    Example
    -------
    >>> low, high = clopper_pearson(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.3085)
    """
    if not 0 <= hits <= trials or trials < 1:
        raise ValueError(f"{hits} hits of {trials} trials are no share")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies in (0, 1), not {confidence}")
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, hits, trials - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, trials - hits) if hits < trials else 1.0
    return float(low), float(high)


def epsilon_lower_bound(
    true_positives, positives, false_positives, negatives, delta=0.0,
    confidence=0.95,
):  # fmt: skip
    """The epsilon that an attack proves not to hold below.

    Of an (epsilon, delta) private mechanism, hits <= e^epsilon alarms + delta and
    the same for the opposite decisions (Kairouz et al., ICML 2015). Both
    shares stand at the end of their interval that says less.

    Arguments
    ---------
    true_positives, positives : int
        How often the attacker says "the first input" of the first one, of
        how many.
    false_positives, negatives : int
        And of the second one.
    delta : float
    confidence : float
        That epsilon is at least what is returned: each interval errs half as
        often.

    Returns
    -------
    float
        0 if the attack proves nothing.

    Example
    -------
    >>> round(epsilon_lower_bound(500, 1000, 10, 1000), 2)
    3.16
    >>> epsilon_lower_bound(500, 1000, 500, 1000)
    0.0
    """
    each = 1 - (1 - confidence) / 2
    hit = clopper_pearson(true_positives, positives, each)
    alarm = clopper_pearson(false_positives, negatives, each)
    found = 0.0
    for more, less in (
        (hit[0], alarm[1]),
        (1 - alarm[1], 1 - hit[0]),
        (alarm[0], hit[1]),
        (1 - hit[1], 1 - alarm[0]),
    ):
        if more > delta and less > 0:
            found = max(found, math.log((more - delta) / less))
    return found
