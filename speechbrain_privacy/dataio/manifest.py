"""The manifest: one CSV row per utterance, checked before anything runs.

Columns ``ID, duration, wav, wrd, spk_id, gender`` and any further attribute
(``age``, ``accent``, ...); an attribute cell is empty where its value is
unknown. ``wav`` may begin with ``$data_root``. Every fault is one
``ManifestError`` that names the file, the row and the column.
"""

import csv
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from speechbrain.utils.logger import get_logger

from speechbrain_privacy.dataio.files import replaced_file

logger = get_logger(__name__)

COLUMNS = ("ID", "duration", "wav", "wrd", "spk_id", "gender")
REQUIRED = ("ID", "duration", "wav")
DATA_ROOT = "$data_root"


class ManifestError(ValueError):
    """A manifest that cannot be used, and why."""


@dataclass(frozen=True)
class Manifest:
    """A checked manifest.

    ``rows`` are dicts of strings in the file's order, with ``$data_root``
    replaced; ``duration`` is a float.
    """

    path: Path
    columns: tuple
    rows: tuple

    def values(self, column):
        """The column's values, row by row (empty strings where unknown)."""
        if column not in self.columns:
            raise ManifestError(
                f"{self.path}: no column '{column}'; "
                f"it has {', '.join(self.columns)}"
            )
        return [row[column] for row in self.rows]

    def known(self, column):
        """The set of the column's non-empty values."""
        return {value for value in self.values(column) if value}

    def fingerprint(self):
        """Short hash of everything but where the audio lies."""
        digest = hashlib.sha256()
        for row in sorted(self.rows, key=lambda row: row["ID"]):
            cells = [f"{k}={v}" for k, v in sorted(row.items()) if k != "wav"]
            digest.update("\x1f".join(cells).encode() + b"\x1e")
        return digest.hexdigest()[:16]

    @property
    def seconds(self):
        """Total duration."""
        return sum(row["duration"] for row in self.rows)


def read_manifest(path, data_root="", need=()):
    """Reads and checks a manifest.

    Arguments
    ---------
    path : str or Path
        CSV file with a header.
    data_root : str or Path
        What ``$data_root`` stands for in the ``wav`` column.
    need : iterable of str
        Columns, beside ID, duration and wav, that must exist and hold at
        least one value.

    Returns
    -------
    Manifest

    Raises
    ------
    ManifestError
        One sentence with file, row (the header is row 1) and column.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> path = folder / "a.csv"
    >>> _ = path.write_text("ID,duration,wav,wrd\\nu1,1.5,$data_root/a.wav,hi\\n")
    >>> read_manifest(path, "/corpus").rows[0]["wav"]
    '/corpus/a.wav'
    """
    path = Path(path)
    if not path.is_file():
        raise ManifestError(f"{path}: the manifest does not exist")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = tuple(name.strip() for name in reader.fieldnames or ())
            reader.fieldnames = list(columns)
            raw = list(reader)
    except (UnicodeDecodeError, csv.Error) as fault:
        raise ManifestError(f"{path}: not a UTF-8 CSV file: {fault}") from None
    for column in (*REQUIRED, *need):
        if column not in columns:
            raise ManifestError(
                f"{path}: row 1: column '{column}' is missing; "
                f"found {', '.join(columns) or 'nothing'}"
            )
    if len(set(columns)) < len(columns):
        raise ManifestError(f"{path}: row 1: a column name occurs twice")
    if not raw:
        raise ManifestError(f"{path}: no utterances, only a header")
    seen = {}
    rows = []
    for number, row in enumerate(raw, start=2):
        rows.append(_checked_row(path, number, row, columns, seen, data_root))
    for column in need:
        if not any(row[column] for row in rows):
            raise ManifestError(f"{path}: column '{column}' is empty")
    return Manifest(path, columns, tuple(rows))


def _checked_row(path, number, row, columns, seen, data_root):
    where = f"{path}: row {number}"
    if None in row or any(value is None for value in row.values()):
        raise ManifestError(
            f"{where}: {len(columns)} columns in the header, "
            "another number of cells here"
        )
    row = {key: value.strip() for key, value in row.items()}
    for column in REQUIRED:
        if not row[column]:
            raise ManifestError(f"{where}: column '{column}' is empty")
    if row["ID"] in seen:
        raise ManifestError(
            f"{where}: column 'ID': '{row['ID']}' "
            f"stands in row {seen[row['ID']]} already"
        )
    seen[row["ID"]] = number
    try:
        row["duration"] = float(row["duration"])
    except ValueError:
        raise ManifestError(
            f"{where}: column 'duration': '{row['duration']}' is not a "
            "number of seconds"
        ) from None
    if not (math.isfinite(row["duration"]) and row["duration"] > 0):
        raise ManifestError(
            f"{where}: column 'duration': {row['duration']} is not a "
            "positive number of seconds"
        )
    if DATA_ROOT in row["wav"]:
        if not str(data_root):
            raise ManifestError(
                f"{where}: column 'wav' uses {DATA_ROOT}: give --data_folder"
            )
        row["wav"] = row["wav"].replace(DATA_ROOT, str(data_root))
    return row


def joined(manifests):
    """Several manifests as one; a name is one speaker in all of them.

    Arguments
    ---------
    manifests : list of Manifest
        The first decides on the columns; cells that others lack are empty.

    Returns
    -------
    Manifest

    Raises
    ------
    ManifestError
        If an ``ID`` occurs in two of them.
    """
    first = manifests[0]
    where, rows = {}, []
    for manifest in manifests:
        for row in manifest.rows:
            other = where.setdefault(row["ID"], manifest.path)
            if other is not manifest.path:
                raise ManifestError(
                    f"{manifest.path}: '{row['ID']}' stands in {other} already"
                )
            rows.append({name: row.get(name, "") for name in first.columns})
    people = [manifest.known("spk_id") for manifest in manifests]
    shared = sum(map(len, people)) - len(set().union(*people))
    if shared:
        logger.warning(
            f"{shared} names of speakers stand in more than one manifest: they "
            "count as the same people"
        )
    names = " + ".join(manifest.path.name for manifest in manifests)
    return Manifest(first.path.with_name(names), first.columns, tuple(rows))


def write_manifest(path, rows):
    """Writes a manifest through a temporary name.

    Arguments
    ---------
    path : str or Path
        Where to.
    rows : list of dict
        Utterances; columns are those of the schema, then any others in the
        order of the first row.

    Raises
    ------
    ManifestError
        If there are no rows: an empty manifest is never written.
    """
    path = Path(path)
    if not rows:
        raise ManifestError(f"{path}: there are no utterances to write")
    further = [key for key in rows[0] if key not in COLUMNS]
    with replaced_file(path, newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *further], restval="")
        writer.writeheader()
        writer.writerows(rows)
