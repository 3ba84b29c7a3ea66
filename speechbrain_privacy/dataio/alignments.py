"""Phone alignments: a CSV ``utt_id,start,end,phone``, times in seconds."""

import csv
import math
from pathlib import Path

import numpy as np

COLUMNS = ("utt_id", "start", "end", "phone")
#: Segments further apart than this leave a hole.
SLACK = 1e-3
#: Seconds by which an alignment may be longer than its audio.
OVERHANG = 0.05


class AlignmentError(ValueError):
    """Alignments that cannot be used, and why."""


def read_alignments(path):
    """Reads and checks alignments.

    Arguments
    ---------
    path : str or Path
        CSV with a header; the segments of an utterance in order and without
        holes between them.

    Returns
    -------
    dict
        Utterance -> list of ``(start, end, phone)``.

    Raises
    ------
    AlignmentError
        One sentence with the file and the row (the header is row 1).

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> rows = "utt_id,start,end,phone", "u,0.0,0.1,SIL", "u,0.1,0.3,AH"
    >>> _ = path.write_text("\\n".join(rows))
    >>> read_alignments(path)
    {'u': [(0.0, 0.1, 'SIL'), (0.1, 0.3, 'AH')]}
    """
    path = Path(path)
    if not path.is_file():
        raise AlignmentError(f"{path}: the alignments do not exist")
    segments = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for column in COLUMNS:
            if column not in (reader.fieldnames or ()):
                raise AlignmentError(
                    f"{path}: row 1: column '{column}' is missing; found "
                    f"{', '.join(reader.fieldnames or ()) or 'nothing'}"
                )
        for number, row in enumerate(reader, start=2):
            where = f"{path}: row {number}"
            try:
                start, end = float(row["start"]), float(row["end"])
            except (TypeError, ValueError):
                raise AlignmentError(
                    f"{where}: start and end are seconds, not "
                    f"'{row['start']}' and '{row['end']}'"
                ) from None
            if not (math.isfinite(end) and 0 <= start < end):
                raise AlignmentError(
                    f"{where}: a segment from {start} to {end} s"
                )
            before = segments.setdefault(row["utt_id"], [])
            if before and abs(before[-1][1] - start) > SLACK:
                raise AlignmentError(
                    f"{where}: begins at {start} s, but the segment before "
                    f"ends at {before[-1][1]} s"
                )
            before.append((start, end, row["phone"]))
    if not segments:
        raise AlignmentError(f"{path}: no segments, only a header")
    return segments


def alignment_paths(path):
    """One path, several or none -> a list.

    Example
    -------
    >>> alignment_paths("a.csv"), alignment_paths(None)
    (['a.csv'], [])
    """
    if not path:
        return []
    return [path] if isinstance(path, str | Path) else list(path)


def load_alignments(path, manifests):
    """Reads alignments and checks them against the audio.

    Arguments
    ---------
    path : str or list of str or None
        CSV, one or several; nothing is read without one.
    manifests : iterable of Manifest
        Each must have an utterance that is aligned.

    Returns
    -------
    dict or None
        As ``read_alignments``.

    Raises
    ------
    AlignmentError
        If nothing of a manifest is aligned, or an alignment is longer than
        the utterance.
    """
    if not path:
        return None
    paths = alignment_paths(path)
    segments = {}
    for one in paths:
        segments.update(read_alignments(one))
    for manifest in manifests:
        lasting = {
            row["ID"]: row["duration"]
            for row in manifest.rows
            if row["ID"] in segments
        }
        if not lasting:
            raise AlignmentError(
                f"{', '.join(map(str, paths))}: aligns no utterance of "
                f"{manifest.path}; without alignments give none (in a recipe "
                "--alignments null)"
            )
        check_durations(segments, lasting)
    return segments


def check_durations(segments, durations):
    """Refuses alignments that are longer than the audio.

    Arguments
    ---------
    segments : dict
        Utterance -> ``(start, end, phone)``.
    durations : dict
        Utterance -> seconds.
    """
    for name, length in durations.items():
        end = segments[name][-1][1]
        if end > length + OVERHANG:
            raise AlignmentError(
                f"the alignment of '{name}' ends at {end} s, its audio at "
                f"{length:.2f} s: are times in seconds?"
            )


def inner_boundaries(segments):
    """Times where one segment of an utterance meets the next.

    Arguments
    ---------
    segments : list of tuple
        ``(start, end, phone)``, in order.

    Returns
    -------
    numpy.ndarray
        In seconds, one less than there are segments.
    """
    return np.array([start for start, _, _ in segments[1:]])
