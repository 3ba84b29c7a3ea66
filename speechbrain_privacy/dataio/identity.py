"""A run goes on with the data that it began with, or not at all."""

import json

from speechbrain_privacy.dataio.files import replaced_file


def remember(path, identity):
    """Refuses to continue a run with other data than it began with.

    Arguments
    ---------
    path : Path
        Written at the first call, compared with at any later one.
    identity : dict
        What must stay the same, JSON-ready.

    Raises
    ------
    ValueError
        If an entry has changed.
    """
    if not path.is_file():
        with replaced_file(path) as file:
            json.dump(identity, file, indent=1)
        return
    before = json.loads(path.read_text())
    for key, value in identity.items():
        if before.get(key) != value:
            raise ValueError(
                f"{path.parent} belongs to a run with other '{key}' "
                f"({before.get(key)}, now {value}): choose another "
                "output_folder"
            )
