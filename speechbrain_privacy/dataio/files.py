"""Files that are written whole or not at all."""

import json
import os
import tempfile
from pathlib import Path


class replaced_file:  # noqa: N801 (reads as a function)
    """Opens a temporary file that takes ``path``'s place when all went well.

    Example
    -------
    >>> path = getfixture("tmp_path") / "x.txt"
    >>> with replaced_file(path) as file:
    ...     _ = file.write("whole or not at all")
    >>> path.read_text()
    'whole or not at all'
    """

    def __init__(self, path, newline=None, mode="w"):
        self.path = Path(path)
        self.newline = newline
        self.mode = mode

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, self.temporary = tempfile.mkstemp(
            dir=self.path.parent, prefix=f".{self.path.name}."
        )
        # mkstemp makes private files; the result gets the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(self.temporary, 0o666 & ~umask)
        self.file = os.fdopen(
            handle,
            self.mode,
            newline=self.newline,
            encoding=None if "b" in self.mode else "utf-8",
        )
        return self.file

    def __exit__(self, kind, value, trace):
        self.file.close()
        if kind is None:
            os.replace(self.temporary, self.path)
        else:
            os.unlink(self.temporary)


def write_json(path, content, indent=1):
    """Writes a result; refuses NaN and infinity.

    Arguments
    ---------
    path : str or Path
    content : object
        JSON-ready.
    indent : int or None
        None: all on one line.
    """
    with replaced_file(Path(path)) as file:
        json.dump(content, file, indent=indent, allow_nan=False)
        file.write("\n")
