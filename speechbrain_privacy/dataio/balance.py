"""Groups of speakers with equal shares of the training speech."""

import numpy as np
from speechbrain.dataio.dataset import FilteredSortedDynamicItemDataset
from speechbrain.utils.logger import get_logger

from speechbrain_privacy.dataio.manifest import ManifestError

logger = get_logger(__name__)


#: More often than this an utterance is hardly worth repeating.
OFTEN = 10


def check_balance(manifest, column):
    """Finds before a long training that there is nothing to balance.

    Arguments
    ---------
    manifest : Manifest
    column : str or None

    Raises
    ------
    ManifestError
        If there is no such column, or one group at most.
    """
    if column and len(manifest.known(column)) < 2:
        raise ManifestError(
            f"{manifest.path}: column '{column}' has no two groups to balance"
        )


def balanced(dataset, manifest, column, seed=0):
    """Repeats utterances until each group has as much audio as the largest.

    An epoch gets longer by that. All utterances of a group are repeated
    equally often, and as many more, drawn once, as fit. Those whose group is
    not known stay as they are.

    Arguments
    ---------
    dataset : DynamicItemDataset
    manifest : Manifest
        With the dataset's utterances.
    column : str
        Whose values are groups, e.g. ``gender`` or ``spk_id``.
    seed : int
        Of the draw.

    Returns
    -------
    FilteredSortedDynamicItemDataset

    Raises
    ------
    ManifestError
        If there is no such column, or one group at most.
    """
    check_balance(manifest, column)
    keys = manifest.values("ID")
    group_of = dict(zip(keys, manifest.values(column), strict=True))
    seconds = {row["ID"]: row["duration"] for row in manifest.rows}
    members = {}
    for key in dataset.data_ids:
        members.setdefault(group_of[key], []).append(key)
    chosen = members.pop("", [])
    draw = np.random.default_rng(seed)
    audio = {
        group: sum(seconds[key] for key in keys)
        for group, keys in members.items()
    }
    most = max(audio.values())
    for group, keys in sorted(members.items()):
        # Rounding alone must not cost the largest group an utterance.
        whole = int(most / audio[group] + 1e-9)
        order = [keys[i] for i in draw.permutation(len(keys))]
        heard = np.cumsum([seconds[key] for key in order])
        more = int((heard <= most - whole * audio[group]).sum())
        chosen = chosen + whole * keys + order[:more]
        tell = logger.warning if whole >= OFTEN else logger.info
        tell(
            f"{column} '{group}': {audio[group]:.0f} s of speech; each "
            f"utterance {whole} x, {more} of {len(keys)} once more"
        )
    return FilteredSortedDynamicItemDataset(dataset, chosen)
