"""Lists of scored trials: which are mated, and who is behind them."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speechbrain_privacy.dataio.score_tables import (
    TEXTS,
    ScoreListError,
    array_table,
    checked_path,
    named_columns,
    parquet_table,
    text_tables,
)

MATED = {"1", "1.0", "true", "target", "tgt", "mated", "same", "yes"}
NONMATED = {
    "0", "0.0", "-1", "false", "nontarget", "non-target", "imp", "impostor",
    "imposter", "nonmated", "non-mated", "different", "no",
}  # fmt: skip
CHUNK = 1_000_000


@dataclass(frozen=True)
class ScoreList:
    """Trials in the file's order.

    ``mated`` is boolean ``[n]``. ``left`` and ``right`` are the speakers of
    enrolment and trial, ``ids`` the names of both, ``None`` where the file
    does not tell. ``skipped`` says how many rows were left out and why.
    """

    path: Path
    scores: np.ndarray
    mated: np.ndarray
    left: np.ndarray | None
    right: np.ndarray | None
    ids: tuple | None
    skipped: dict


def read_scores(path, columns=None, names=None, speaker_of=None):
    """Reads a whole list.

    Arguments
    ---------
    path : str or Path
        ``.csv``, ``.tsv`` or ``.txt`` (spaces), ``.parquet``, or ``.npz``
        with ``mated`` and ``nonmated``, or with the columns by name.
    columns : list of str, optional
        Of a file without a header, in order.
    names : dict, optional
        What the file calls a column: ``{"score": "cos"}``.
    speaker_of : dict, optional
        Speaker of each enrolment and trial.

    Returns
    -------
    ScoreList

    Raises
    ------
    ScoreListError
        With the file, the row and the column.
    """
    path = checked_path(path, names, (*TEXTS, ".npz", ".parquet"))
    if path.suffix == ".npz":
        table = array_table(path)
    elif path.suffix == ".parquet":
        table = parquet_table(path)
    else:
        table = next(text_tables(path, columns, names, chunk=None))
    return _trials(path, named_columns(path, table, names), speaker_of)


def turned(scored):
    """A list of distances as one of scores: the signs turned round.

    Arguments
    ---------
    scored : ScoreList

    Returns
    -------
    ScoreList
    """
    return replace(scored, scores=-scored.scores)


def read_speakers(path):
    """Reads who spoke what.

    Arguments
    ---------
    path : str or Path
        CSV with the columns ``ID`` and ``spk_id`` (a manifest).

    Returns
    -------
    dict
        ID -> speaker, and each speaker -> the same, for lists whose
        enrolment is a model of a speaker under his name. A name that is an
        ``ID`` too is one.
    """
    path = Path(path)
    if not path.is_file():
        raise ScoreListError(f"{path}: no such file")
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for column in ("ID", "spk_id"):
            if column not in (reader.fieldnames or ()):
                raise ScoreListError(f"{path}: row 1: no column '{column}'")
        found = {}
        for number, row in enumerate(reader, start=2):
            speaker = found.setdefault(row["ID"], row["spk_id"])
            if speaker != row["spk_id"]:
                raise ScoreListError(
                    f"{path}: row {number}: '{row['ID']}' is spoken by "
                    f"'{row['spk_id']}', above by '{speaker}'"
                )
    models = {speaker: speaker for speaker in found.values()}
    return {key: name for key, name in {**models, **found}.items() if name}


def stream_scores(path, columns=None, names=None):
    """Reads a text list in pieces that fit into memory.

    Arguments
    ---------
    path, columns, names
        As in ``read_scores``. Self-pairs are left out in each piece;
        duplicates are not looked for.

    Yields
    ------
    ScoreList
    """
    path = checked_path(path, names, TEXTS)
    first = 0
    for table in text_tables(path, columns, names, CHUNK):
        named = named_columns(path, table, names)
        yield _trials(path, named, None, first, duplicates=False)
        first += len(table)


def _trials(path, found, speaker_of, first=0, duplicates=True):
    import pandas  # slow to import

    scores = pandas.to_numeric(found["score"], errors="coerce")
    scores = scores.to_numpy(float)
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise ScoreListError(
            f"{path}: {len(bad)} of {len(scores)} scores are no finite "
            f"numbers, the first in trial {first + bad[0] + 1} "
            f"('{found['score'].iloc[bad[0]]}')"
        )
    ids = [found.get("enrolment"), found.get("trial")]
    ids = None if any(part is None for part in ids) else ids
    sides = [found.get("enrolment_speaker"), found.get("trial_speaker")]
    if speaker_of is not None:
        if ids is None:
            raise ScoreListError(
                f"{path}: speakers are looked up by the columns 'enrolment' "
                "and 'trial', which are not there"
            )
        sides = [_speakers(path, part, speaker_of, first) for part in ids]
    if any(side is None for side in sides):
        left = right = None
    else:
        left, right = (_named_speakers(path, side, first) for side in sides)
    mated = _mated(path, found.get("label"), left, right, first)
    skipped = {}
    kept = np.ones(len(scores), dtype=bool)
    if ids is not None:
        codes = _common_codes(ids)
        kept = codes[0] != codes[1]
        if not kept.all():
            skipped["self-pairs"] = int((~kept).sum())
        if duplicates:
            kept &= _first_of_each(path, codes, scores, skipped, kept)
        ids = tuple(np.asarray(part)[kept] for part in ids)
    if left is not None:
        left, right = left[kept], right[kept]
    return ScoreList(path, scores[kept], mated[kept], left, right, ids, skipped)


def _speakers(path, names, speaker_of, first):
    names = names.astype("category")
    speakers = names.cat.rename_categories(str).map(speaker_of)
    lost = np.flatnonzero(speakers.isna().to_numpy())
    if len(lost):
        raise ScoreListError(
            f"{path}: {len(lost)} trials have an utterance whose speaker is "
            f"not known, the first is trial {first + lost[0] + 1} "
            f"('{names.iloc[lost[0]]}')"
        )
    return speakers


def _named_speakers(path, side, first):
    missing = side.isna().to_numpy() | (side.astype(str) == "").to_numpy()
    if missing.any():
        raise ScoreListError(
            f"{path}: {missing.sum()} trials have an empty speaker, the first "
            f"is trial {first + np.flatnonzero(missing)[0] + 1}"
        )
    return np.asarray(side.astype(str))


def _mated(path, labels, left, right, first):
    same = None if left is None else left == right
    if labels is None:
        if same is None:
            raise ScoreListError(
                f"{path}: neither a column 'label' nor the speakers of both "
                "sides (columns enrolment_speaker and trial_speaker, or "
                "--speakers): which trials are mated?"
            )
        return same
    labels = labels.astype("category")
    meaning = []
    for value in labels.cat.categories:
        text = str(value).strip().lower()
        meaning.append(1 if text in MATED else 0 if text in NONMATED else -1)
    codes = labels.cat.codes.to_numpy()
    mated = np.where(codes < 0, -1, np.array([*meaning, -1])[codes])
    bad = np.flatnonzero(mated < 0)
    if len(bad):
        raise ScoreListError(
            f"{path}: trial {first + bad[0] + 1} has the label "
            f"'{labels.iloc[bad[0]]}': say 1 or 0, target or nontarget"
        )
    mated = mated == 1
    if same is not None and (wrong := np.flatnonzero(mated != same)).size:
        raise ScoreListError(
            f"{path}: trial {first + wrong[0] + 1} is labelled "
            f"{'mated' if mated[wrong[0]] else 'non-mated'}, its speakers "
            f"are '{left[wrong[0]]}' and '{right[wrong[0]]}'"
        )
    return mated


def _common_codes(ids):
    """Both sides' names as numbers of one list."""
    from pandas import factorize  # slow to import

    names = [part.astype("category").cat for part in ids]
    numbers, _ = factorize(
        np.concatenate([some.categories.astype(str) for some in names])
    )
    tables = np.split(numbers, [len(names[0].categories)])
    return [table[some.codes] for table, some in zip(tables, names)]


def _first_of_each(path, codes, scores, skipped, kept):
    """True where a pair occurs for the first time."""
    key = codes[0].astype(np.int64) * (codes[1].max() + 1 + codes[0].max())
    key += codes[1]
    order = np.argsort(key, kind="stable")
    again = np.zeros(len(key), dtype=bool)
    repeated = key[order][1:] == key[order][:-1]
    again[order[1:][repeated]] = True
    again &= kept
    if again.any():
        other = scores[order][1:] != scores[order][:-1]
        clash = np.flatnonzero(repeated & other & kept[order[1:]])
        if len(clash):
            a, b = order[clash[0]], order[clash[0] + 1]
            raise ScoreListError(
                f"{path}: trials {a + 1} and {b + 1} are the same pair with "
                f"two scores, {scores[a]} and {scores[b]}"
            )
        skipped["duplicates"] = int(again.sum())
    return ~again
