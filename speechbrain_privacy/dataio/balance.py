"""Groups of speakers with equal shares of the training speech."""

import numpy as np
from speechbrain.dataio.dataset import FilteredSortedDynamicItemDataset
from speechbrain.utils.logger import get_logger

from speechbrain_privacy.dataio.manifest import ManifestError

logger = get_logger(__name__)


def balanced(dataset, manifest, column, seed=0):
    """Repeats utterances until each group has as much audio as the largest.

    All utterances of a group are repeated equally often, and as many more,
    drawn once, as fit. Those whose group is not known stay as they are.

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
    group_of = dict(
        zip(
            manifest.values("ID"),
            manifest.values(column),
            strict=True,
        )
    )
    seconds = {row["ID"]: row["duration"] for row in manifest.rows}
    members = {}
    for key in dataset.data_ids:
        members.setdefault(group_of[key], []).append(key)
    chosen = members.pop("", [])
    if len(members) < 2:
        raise ManifestError(
            f"{manifest.path}: column '{column}' has no two groups to balance"
        )
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
        logger.info(
            f"{column} '{group}': {audio[group]:.0f} s of speech, repeated to "
            f"{whole * audio[group] + (heard[more - 1] if more else 0):.0f} s"
        )
    return FilteredSortedDynamicItemDataset(dataset, chosen)
