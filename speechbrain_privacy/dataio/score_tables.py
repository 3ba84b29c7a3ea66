"""Columns of scored trials from files: CSV, TSV, NumPy, parquet."""

import csv
import warnings
import zipfile
from pathlib import Path

import numpy as np

#: What each column may be called.
NAMES = {
    "score": ("score", "scores", "llr", "similarity"),
    "label": ("label", "labels", "target", "mated", "is_mated", "key"),
    "enrolment": ("enrolment", "enrollment", "enrol", "enroll", "model"),
    "trial": ("trial", "test", "segment", "utterance"),
    "enrolment_speaker": ("enrolment_speaker", "enrollment_speaker", "left"),
    "trial_speaker": ("trial_speaker", "test_speaker", "right"),
}
TEXTS = (".csv", ".tsv", ".txt")


class ScoreListError(ValueError):
    """A list of scores that cannot be used, and why."""


def checked_path(path, names, suffixes):
    """The path, of a known kind; the names of columns are checked."""
    path = Path(path)
    if not path.is_file():
        raise ScoreListError(f"{path}: no such file")
    if path.suffix not in suffixes:
        raise ScoreListError(
            f"{path}: a list of scores ends in {', '.join(suffixes)}"
        )
    unknown = set(names or ()) - set(NAMES)
    if unknown:
        raise ScoreListError(
            f"'{min(unknown)}' is no column of a list of scores; there are "
            f"{', '.join(NAMES)}"
        )
    return path


def text_tables(path, columns, names, chunk):
    """Data frames of a text file, whole or in pieces."""
    import pandas  # slow to import

    separator = {".csv": ",", ".tsv": "\t"}.get(path.suffix, r"\s+")
    with open(path, encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    if not line.strip():
        raise ScoreListError(f"{path}: the file is empty")
    if separator == r"\s+":
        head = line.split()
    else:
        head = next(csv.reader([line], delimiter=separator))
    head = [cell.strip() for cell in head]
    if columns is None:
        known = {alias for some in NAMES.values() for alias in some}
        known |= set((names or {}).values())
        if not any(cell.lower() in known or cell in known for cell in head):
            if len(head) == 1 and any(mark in line for mark in ";\t ,"):
                raise ScoreListError(
                    f"{path}: row 1 is one cell ({head[0]}): .csv has commas, "
                    ".tsv tabs and .txt spaces between its cells"
                )
            raise ScoreListError(
                f"{path}: row 1 ({', '.join(head)}) names no column that is "
                "known: if the file has no header, give its columns, e.g. "
                "enrolment,trial,score"
            )
    elif len(columns) != len(head):
        raise ScoreListError(
            f"{path}: {len(columns)} columns are given, row 1 has {len(head)}"
        )
    texts = [n for n in columns or head if not _is_score(n, names)]
    scores = [n for n in columns or head if _is_score(n, names)]
    try:
        with warnings.catch_warnings():
            # A row with a cell too many: its columns would move.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            read = pandas.read_csv(
                path,
                sep=separator,
                header=None if columns else 0,
                names=columns or head,
                index_col=False,
                dtype=dict.fromkeys(texts, "category"),
                keep_default_na=False,
                na_values=dict.fromkeys(scores, ["", "nan", "NaN"]),
                chunksize=chunk,
                skipinitialspace=True,
                encoding="utf-8-sig",
            )
            for table in [read] if chunk is None else read:
                if len(table) == 0:
                    raise ScoreListError(f"{path}: no trials, only a header")
                yield table
    except (ValueError, pandas.errors.ParserError) as fault:
        if isinstance(fault, ScoreListError):
            raise
        raise ScoreListError(f"{path}: {fault}") from None
    except pandas.errors.ParserWarning:
        raise ScoreListError(
            f"{path}: a row has more cells than row 1"
        ) from None


def _is_score(name, names):
    wanted = (names or {}).get("score")
    return name == wanted if wanted else name.lower() in NAMES["score"]


def array_table(path):
    """The data frame of a NumPy archive."""
    import pandas  # slow to import

    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as fault:
        raise ScoreListError(
            f"{path}: no NumPy archive of plain arrays (objects: astype(str)): "
            f"{fault}"
        ) from None
    if {"mated", "nonmated"} <= set(arrays):
        both = arrays["mated"].ravel(), arrays["nonmated"].ravel()
        return pandas.DataFrame(
            {
                "score": np.concatenate(both),
                "label": np.repeat([1, 0], [len(part) for part in both]),
            }
        )
    if len({a.size for a in arrays.values()}) > 1:
        raise ScoreListError(
            f"{path}: the arrays {', '.join(arrays)} differ in length"
        )
    return pandas.DataFrame({n: a.ravel() for n, a in arrays.items()})


def parquet_table(path):
    """The data frame of a parquet file."""
    import pandas  # slow to import

    try:
        return pandas.read_parquet(path)
    except ImportError:
        raise ScoreListError(
            f"{path}: reading parquet needs pyarrow: pip install pyarrow"
        ) from None


def named_columns(path, table, names):
    """The table with our names for its columns."""
    found = {}
    for ours, aliases in NAMES.items():
        wanted = (names or {}).get(ours)
        if wanted is not None and wanted not in table.columns:
            raise ScoreListError(
                f"{path}: no column '{wanted}'; it has "
                f"{', '.join(map(str, table.columns))}"
            )
        matches = [
            name
            for name in table.columns
            if (name == wanted if wanted else str(name).lower() in aliases)
        ]
        if len(matches) > 1:
            raise ScoreListError(
                f"{path}: {' and '.join(matches)} may both be the column "
                f"'{ours}': say which"
            )
        if matches:
            found[ours] = table[matches[0]]
    if "score" not in found:
        raise ScoreListError(
            f"{path}: no column 'score'; it has "
            f"{', '.join(map(str, table.columns))}"
        )
    return found
