"""All metrics of a list of trials: global, per speaker, with null levels."""

import json
from dataclasses import asdict, dataclass

import numpy as np

from speechbrain_privacy.metrics.comparison import Null, permutation_null
from speechbrain_privacy.metrics.disclosure import linkability, linkability_of
from speechbrain_privacy.metrics.trials import SpeakerScores
from speechbrain_privacy.metrics.uncertainty import (
    Interval,
    intervals_of,
    score_replicates,
)
from speechbrain_privacy.metrics.verification import (
    RANK_METRICS,
    VerificationReport,
    equal_error_rate,
    evaluate_scores,
)

#: With an interval each.
METRICS = ("eer", "rocch_eer", "min_cllr", "expected_disclosure", "auc")
#: Share of the speakers that counts as the most exposed.
EXPOSED = 0.05


@dataclass(frozen=True)
class TrialsReport:
    """What ``evaluate_trials`` finds.

    ``overall`` is the report of the whole list, ``intervals`` gives rank
    metrics and ``linkability`` with their intervals over speakers, ``null``
    their values if the scores told nothing, ``by_speaker`` the EER of each
    speaker's own trials, and ``exposed`` the lowest of these that 5 % of the
    speakers reach. ``left_out`` has every metric without each speaker, for
    paired comparisons with other reports, and ``hull`` the mated and the
    non-mated trials in each segment of the ROC convex hull.
    """

    overall: VerificationReport
    intervals: dict
    null: dict
    by_speaker: dict
    exposed: float | None
    left_out: dict
    hull: dict

    def to_json(self):
        """The report as JSON text."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text):
        """The report that ``to_json`` wrote."""
        content = json.loads(text)
        overall = content.pop("overall")
        overall["warnings"] = tuple(overall["warnings"])
        for part, kind in (("intervals", Interval), ("null", Null)):
            content[part] = {
                name: kind(**value) for name, value in content[part].items()
            }
        return cls(overall=VerificationReport(**overall), **content)


def evaluate_trials(
    scores, left, right, metrics=METRICS, n_permutations=0, seed=0, level=0.95
):
    """Evaluates verification trials whose speakers are known.

    Arguments
    ---------
    scores : array_like
        ``[n_trials]``, higher = more alike.
    left, right : array_like
        Speakers of the two sides (enrolment and trial); equal means mated.
    metrics : sequence of str
        Rank metrics that get an interval.
    n_permutations : int
        For the null levels; 0 leaves them out.
    seed : int
        Of the permutations.
    level : float
        Of the intervals.

    Returns
    -------
    TrialsReport

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> who = np.repeat(np.arange(8), 5)
    >>> x = np.repeat(rng.normal(size=(8, 8)), 5, 0)
    >>> x = x + rng.normal(size=x.shape)
    >>> i, j = np.triu_indices(40, 1)
    >>> report = evaluate_trials((x @ x.T)[i, j], who[i], who[j])
    >>> report.intervals["eer"].value == report.overall.eer
    True
    >>> len(report.by_speaker)
    8
    """
    data = SpeakerScores.of_pairs(scores, left, right)
    pooled = data.pooled
    overall = evaluate_scores(pooled.mated, pooled.nonmated)
    estimates, replicates = score_replicates(data, metrics)
    if overall.linkability is not None:
        for all_of, further in zip(
            (estimates, replicates),
            score_replicates(binned(data), {"linkability": block_linkability}),
        ):
            all_of |= further
    pav = data.blocks().pav
    null = {}
    if n_permutations:
        functions = {
            name: lambda p, f=RANK_METRICS[name]: f(p.blocks())
            for name in metrics
        }
        if overall.linkability is not None:
            functions["linkability"] = linkability
        null = permutation_null(
            pooled.mated,
            pooled.nonmated,
            functions,
            n_permutations,
            seed,
            level,
        )
    by_speaker = speaker_eers(scores, left, right)
    rates = list(by_speaker.values())
    return TrialsReport(
        overall=overall,
        intervals=intervals_of(
            estimates, replicates, len(data.speakers), level=level
        ),
        null=null,
        by_speaker=by_speaker,
        exposed=float(np.quantile(rates, EXPOSED)) if rates else None,
        left_out={
            name: {
                str(speaker): float(value) if np.isfinite(value) else None
                for speaker, value in zip(data.speakers, values)
            }
            for name, values in replicates.items()
        },
        hull={"mated": pav.mated.tolist(), "nonmated": pav.nonmated.tolist()},
    )


def binned(data):
    """The trials with their scores rounded to the bins of D_sys.

    Arguments
    ---------
    data : SpeakerScores

    Returns
    -------
    SpeakerScores
        On which ``block_linkability`` is D_sys, also after resampling.
    """
    return data.rescored(data.pooled.equal_bins())


def block_linkability(blocks):
    """D_sys of blocks that are bins (see ``binned``)."""
    n_mated, n_nonmated = blocks.totals
    share = blocks.mated / n_mated
    # A run of bins with one kind of trial is one block, and D is 0 or 1 there.
    return float(share @ linkability_of(share, blocks.nonmated / n_nonmated))


def speaker_eers(scores, left, right):
    """EER of each speaker: own mated trials against all with that speaker.

    Arguments
    ---------
    scores, left, right : array_like
        As in ``evaluate_trials``.

    Returns
    -------
    dict
        Speaker -> EER, for those who have mated and non-mated trials; sorted
        from the most exposed.
    """
    scores, left, right = map(np.asarray, (scores, left, right))
    mated = left == right
    # Each trial once for every speaker in it.
    trial = np.concatenate([np.arange(len(scores)), np.flatnonzero(~mated)])
    who = np.concatenate([left, right[~mated]])
    order = np.argsort(who, kind="stable")
    names, starts = np.unique(who[order], return_index=True)
    found = {}
    for name, some in zip(names, np.split(trial[order], starts[1:])):
        own = mated[some]
        if own.any() and not own.all():
            found[str(name)] = equal_error_rate(
                scores[some[own]], scores[some[~own]]
            )
    return dict(sorted(found.items(), key=lambda item: item[1]))
