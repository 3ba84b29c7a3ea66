"""Error rates by group as fairlearn's ``MetricFrame``."""

import numpy as np

from speechbrain_privacy.metrics.fairness import check_counts, crossed


def as_metric_frame(errors, words, groups, control=None):
    """Errors per word by group, for whoever works with fairlearn.

    It has no intervals: ``fairness.group_rates`` has. Needs the extra
    ``[fairness]``.

    Arguments
    ---------
    errors, words : array_like
        Per utterance: errors and reference words.
    groups : array_like, or list of array_like
        Per utterance; several columns are crossed. Utterances with an empty
        group are left out.
    control : array_like, optional
        Within each of whose values groups are compared; not where empty.

    Returns
    -------
    fairlearn.metrics.MetricFrame
        With ``error_rate``, ``errors``, ``words`` and ``utterances``.

    Example
    -------
    >>> frame = as_metric_frame([1, 0, 2], [4, 4, 4], ["F", "M", "M"])
    >>> frame.by_group["error_rate"].tolist()
    [0.25, 0.25]
    >>> float(frame.difference()["error_rate"])
    0.0
    """
    try:
        from fairlearn.metrics import MetricFrame
    except ImportError:
        raise ImportError(
            "as_metric_frame needs fairlearn: install the extra [fairness]"
        ) from None
    names, unknown = crossed(groups)
    errors, words = np.asarray(errors, float), np.asarray(words, float)
    check_counts(errors, words, names, names)
    kept = ~unknown
    if control is not None:
        control, without = crossed(control)
        kept &= ~without
    if not kept.any():
        raise ValueError("every utterance's group is empty")
    return MetricFrame(
        metrics={
            "error_rate": lambda words, errors: _rate(errors, words),
            "errors": lambda words, errors: errors.sum(),
            "words": lambda words, errors: words.sum(),
            "utterances": lambda words, errors: len(words),
        },
        y_true=words[kept],
        y_pred=errors[kept],
        sensitive_features=names[kept].astype(str),
        control_features=None if control is None else control[kept].astype(str),
    )


def _rate(errors, words):
    return errors.sum() / words.sum() if words.sum() else np.nan
