"""Word and character error rates as counts."""

from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class ErrorCounts:
    """Edit operations over a set of utterances.

    ``rate`` is their number per reference token, in percent.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference: int = 0

    @property
    def errors(self):
        """All edit operations."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self):
        """Errors per 100 reference tokens."""
        if self.reference == 0:
            raise ValueError("an error rate needs at least one reference word")
        return 100.0 * self.errors / self.reference

    def __add__(self, other):
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference + other.reference,
        )


def count_errors(reference, hypothesis):
    """Counts the edits of a minimal alignment.

    Arguments
    ---------
    reference, hypothesis : list of str
        Words, or characters.

    Returns
    -------
    ErrorCounts

    Example
    -------
    >>> count_errors("A B C".split(), "A C C D".split()).errors
    2
    """
    kinds = [op.tag for op in Levenshtein.editops(reference, hypothesis)]
    return ErrorCounts(
        kinds.count("replace"),
        kinds.count("delete"),
        kinds.count("insert"),
        len(reference),
    )


def word_errors(reference, hypothesis):
    """Counts word errors between two texts."""
    return count_errors(reference.split(), hypothesis.split())


def character_errors(reference, hypothesis):
    """Counts character errors; words are joined by single spaces."""
    return count_errors(
        list(" ".join(reference.split())), list(" ".join(hypothesis.split()))
    )
