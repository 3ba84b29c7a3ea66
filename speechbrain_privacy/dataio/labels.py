"""Attribute values <-> class numbers."""

import json
from pathlib import Path

from speechbrain_privacy.dataio.files import replaced_file
from speechbrain_privacy.dataio.manifest import ManifestError

UNKNOWN = -1


class AttributeLabels:
    """The classes of each attribute, as training knows them.

    An empty cell and a value that training never saw (a validation
    speaker, say) are ``UNKNOWN``: every loss and accuracy leaves them out.

    Arguments
    ---------
    attributes : list of str
        Manifest columns, e.g. ``["spk_id", "gender"]``.

    Example
    -------
    >>> labels = AttributeLabels(["gender"]).learn(
    ...     {"gender": ["M", "F", ""]}
    ... )
    >>> [labels.encode({"gender": value}) for value in ("F", "M", "")]
    [[0], [1], [-1]]
    """

    def __init__(self, attributes):
        self.attributes = list(attributes)
        self.classes = {}
        self._index = {}

    def learn(self, values):
        """Takes the classes from training values.

        Arguments
        ---------
        values : dict
            Attribute -> iterable of values; empty strings are unknown.

        Returns
        -------
        AttributeLabels
            Itself.
        """
        for attribute in self.attributes:
            known = sorted({value for value in values[attribute] if value})
            if len(known) < 2:
                raise ManifestError(
                    f"column '{attribute}' of the training manifest has "
                    f"{len(known)} different values; an attribute needs two"
                )
            self.classes[attribute] = known
            self._index[attribute] = {v: i for i, v in enumerate(known)}
        return self

    @property
    def sizes(self):
        """Attribute -> number of classes."""
        return {name: len(values) for name, values in self.classes.items()}

    def encode(self, row):
        """A manifest row -> one class number per attribute."""
        return [
            self._index[name].get(row.get(name, ""), UNKNOWN)
            for name in self.attributes
        ]

    def save(self, path):
        """Writes the classes as JSON."""
        with replaced_file(Path(path)) as file:
            json.dump(self.classes, file, indent=1)
