"""Whole numbers of utterances, as many as each has frames, kept in a file."""

import hashlib
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
from speechbrain.utils.logger import get_logger

from speechbrain_privacy.dataio.files import replaced_file

logger = get_logger(__name__)

BROKEN = (
    ValueError,
    KeyError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)


def write_ragged(path, identity, numbers, spent=None):
    """Keeps numbers with the name of what they were made of.

    Arguments
    ---------
    path : str or Path
        Of an ``.npz`` file.
    identity : str
    numbers : dict
        ID -> array of whole numbers, ``[n]``.
    spent : dict, optional
        What making them has cost, for ``read_spent``.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.npz"
    >>> write_ragged(path, "x", {"u": np.array([3, 4]), "v": np.array([5])})
    >>> {key: some.tolist() for key, some in read_ragged(path, "x").items()}
    {'u': [3, 4], 'v': [5]}
    >>> read_ragged(path, "y")
    """
    with replaced_file(Path(path), mode="wb") as file:
        np.savez_compressed(
            file,
            identity=identity,
            spent=json.dumps(spent or {}),
            ids=list(numbers),
            counts=[len(some) for some in numbers.values()],
            numbers=np.concatenate(list(numbers.values())).astype(np.int32),
        )


def read_ragged(path, identity):
    """What ``write_ragged`` has kept.

    Arguments
    ---------
    path : str or Path
    identity : str

    Returns
    -------
    dict or None
        ID -> int64 array; None if there is nothing, it cannot be read, or
        it is of something else: then it has to be made anew.
    """
    path = Path(path)
    if not path.is_file():
        return None
    try:
        with np.load(path) as kept:
            if str(kept["identity"]) != identity:
                return None
            parts = np.split(
                kept["numbers"].astype(np.int64), kept["counts"].cumsum()[:-1]
            )
            return dict(zip(kept["ids"].tolist(), parts, strict=True))
    except BROKEN as fault:
        logger.warning(f"{path} cannot be used and is made anew: {fault}")
        return None


def read_spent(path):
    """What making the numbers of a file has cost.

    Arguments
    ---------
    path : str or Path
        Of an ``.npz`` file, written with ``spent``.

    Returns
    -------
    dict
        With an ``id`` of what they were made of. Empty if there is no file,
        it cannot be read, or does not say.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.npz"
    >>> write_ragged(path, "x", {"u": np.array([3, 4])}, {"flops": 7})
    >>> read_spent(path)["flops"]
    7
    """
    try:
        with np.load(path) as kept:
            spent = json.loads(str(kept["spent"]))
            name = hashlib.sha256(str(kept["identity"]).encode()).hexdigest()
    except BROKEN:
        return {}
    return {"id": name[:16], **spent} if spent else {}
