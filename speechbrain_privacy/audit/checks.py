"""What would stop an audit, found before a long training."""

from speechbrain.utils.logger import get_logger

from speechbrain_privacy.audit.representations import tapped_module
from speechbrain_privacy.dataio.manifest import ManifestError

logger = get_logger(__name__)


def check_splits(train, test, attributes, reads):
    """Refuses data that cannot be audited.

    Arguments
    ---------
    train, test : Manifest
    attributes : list of str
        Two-class columns that are inferred.
    reads : bool
        Whether an attacker reads the transcripts.

    Raises
    ------
    ManifestError
        If the two share a speaker, a test utterance has none, training
        has fewer than two, an attribute has not two classes or differs
        within a speaker, or there are no words for an attacker who
        reads.
    """
    if reads:
        for manifest in (train, test):
            if "wrd" not in manifest.columns or not manifest.known("wrd"):
                raise ManifestError(
                    f"{manifest.path}: column 'wrd' is empty: an attacker "
                    "who reads needs words; take text_attackers out"
                )
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
    for attribute in attributes:
        known = train.known(attribute)
        if len(known) != 2 or not known <= test.known(attribute):
            raise ManifestError(
                f"column '{attribute}' has {len(known)} values in "
                f"{train.path}, {len(test.known(attribute))} in "
                f"{test.path}: this audit infers two-class attributes "
                "that both have; take it out of the audit's attributes"
            )

        for manifest in (train, test):
            _one_value_each(manifest, attribute)


def _one_value_each(manifest, attribute):
    """A speaker with two values of an attribute is a fault in a manifest."""
    found = {}
    for row in manifest.rows:
        value = row[attribute]
        known = value and row["spk_id"]
        if known and found.setdefault(row["spk_id"], value) != value:
            raise ManifestError(
                f"{manifest.path}: speaker '{row['spk_id']}' has both "
                f"'{found[row['spk_id']]}' and '{value}' in '{attribute}'"
            )


def may_choose(dev, train, test):
    """Whether attackers can be chosen on the speakers of ``dev``.

    Arguments
    ---------
    dev, train, test : Manifest

    Returns
    -------
    bool
        With a warning that says why not, where speakers are shared.
    """
    if "spk_id" not in dev.columns:
        return False
    speakers = dev.values("spk_id")
    distinct = set(speakers)
    if distinct & (train.known("spk_id") | test.known("spk_id")):
        logger.warning(
            f"{dev.path} shares speakers with training or test: attackers "
            "are not chosen on it"
        )
        return False
    # Some mated and some non-mated trials, and everybody named.
    return "" not in distinct and 1 < len(distinct) < len(speakers)


def check_audit(audit, train, test):
    """Finds before a long training that its audit cannot be.

    Arguments
    ---------
    audit : Audit
    train, test : Manifest
        Of attackers' and audited speakers.

    Raises
    ------
    ValueError
        What is missing, or which attacker would learn nothing.
    """
    if audit is None:
        raise ValueError(
            "audit: a recipe ends with one; to make it short, give "
            '--attack "{epochs: 5}" instead of leaving it out'
        )
    audit.check(train, test)
    n_utterances = len(train.rows)
    faster = n_utterances * len(audit.speeds)
    _check_steps("speaker", audit.speaker_attackers, faster)
    _check_steps("waveform", audit.waveform_attackers, faster)
    if audit.attributes:  # of speech as it is
        _check_steps("attribute", audit.attribute_attackers, n_utterances)


def _check_steps(kind, makers, n_utterances):
    """Of attackers that learn on so many utterances, at most."""
    for name, make in makers.items():
        attacker = make()
        learner = getattr(attacker, "embedder", attacker)
        if hasattr(learner, "check"):
            try:
                learner.check(n_utterances)
            except ValueError as fault:
                raise ValueError(f"audit, {kind} {name}: {fault}") from None


def check_taps(taps, brain):
    """Finds before a long training that a tap is nowhere.

    Arguments
    ---------
    taps : dict
        Name -> ``Tap``.
    brain : sb.Brain

    Raises
    ------
    ValueError
        It names what is there.
    """
    for name, tap in taps.items():
        if tap.module:
            tapped_module(brain, name, tap)
