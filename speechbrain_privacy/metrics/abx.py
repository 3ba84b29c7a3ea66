"""ABX: is X nearer to A, of its own phone, than to B of another?

Source: Schatz et al., "Evaluating speech features with the minimal-pair ABX
task", Interspeech 2013; the within- and across-speaker tasks of Kahn et al.,
"Libri-light", ICASSP 2020. Chance is 50 %.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import permutations

import numpy as np

#: Cells of distance matrices that are in memory at once.
CELLS = 4_000_000


@dataclass(frozen=True)
class AbxReport:
    """``error`` in percent, the mean over pairs of phones; each pair's is
    the mean over its speakers and contexts."""

    error: float
    mode: str
    n_pairs: int
    n_cells: int
    n_triples: int
    n_distances: int


@dataclass(frozen=True)
class Segment:
    """Frames ``[n, dim]`` of one phone, said by a speaker in a context."""

    frames: np.ndarray
    phone: str
    speaker: str
    context: object = None


def abx(segments, mode="within", most=5, most_speakers=5, seed=0):
    """Error of the ABX task over all pairs of phones.

    Arguments
    ---------
    segments : sequence of Segment
        Of one context (None) for all, or with equal ones to be compared.
    mode : str
        ``within``: A, B and X are one speaker's; ``across``: X is another's.
    most : int
        Segments of a phone, speaker and context, at most: others are not
        drawn.
    most_speakers : int
        Speakers of X, at most, for each speaker of A and B (``across``).
    seed : int
        Of the draws.

    Returns
    -------
    AbxReport

    Example
    -------
    >>> def say(phone, x):
    ...     return Segment(np.array([[x, 1.0]] * 3), phone, "s")
    >>> said = [say("a", 0), say("a", 0.1), say("b", 5), say("b", 6)]
    >>> abx(said).error
    0.0
    """
    if mode not in ("within", "across"):
        raise ValueError(f"mode is within or across, not '{mode}'")
    draw = np.random.default_rng(seed)
    cells = defaultdict(list)
    for i, segment in enumerate(segments):
        if np.ndim(segment.frames) != 2 or len(segment.frames) == 0:
            raise ValueError(f"segment {i} has no frames")
        cells[segment.context, segment.speaker, segment.phone].append(i)
    cells = {
        key: sorted(draw.permutation(places)[:most].tolist())
        for key, places in sorted(cells.items(), key=lambda kv: repr(kv[0]))
    }
    tasks = list(_tasks(cells, mode, most_speakers, draw))
    if not tasks:
        raise ValueError(
            f"no phones can be compared {mode} speakers: of one context and "
            "speaker there must be two phones, and an X"
        )
    wanted = sorted(
        {
            (min(x, other), max(x, other))
            for _, a, b, xs in tasks
            for x in xs
            for other in (*a, *b)
            if x != other
        }
    )
    distance = _distances(segments, wanted)
    errors, triples = defaultdict(list), 0
    for pair, a, b, xs in tasks:
        wrong = []
        for x in xs:
            near = np.array(
                [distance[min(x, i), max(x, i)] for i in a if i != x]
            )
            far = np.array([distance[min(x, i), max(x, i)] for i in b])
            gap = near[:, None] - far
            wrong.append(((gap > 0) + 0.5 * (gap == 0)).mean())
            triples += gap.size
        errors[pair].append(np.mean(wrong))
    return AbxReport(
        float(round(100 * np.mean([np.mean(e) for e in errors.values()]), 10)),
        mode,
        len(errors),
        len(tasks),
        triples,
        len(wanted),
    )


def _tasks(cells, mode, most_speakers, draw):
    """``(pair of phones, A's, B's, X's)`` for each speaker and context."""
    there = defaultdict(lambda: defaultdict(dict))
    for (context, speaker, phone), places in cells.items():
        there[context][speaker][phone] = places
    for speakers in there.values():
        for name, phones in speakers.items():
            for a, b in permutations(phones, 2):
                if mode == "within":
                    if len(phones[a]) > 1:
                        yield (a, b), phones[a], phones[b], phones[a]
                    continue
                others = [s for s in speakers if s != name and a in speakers[s]]
                for other in draw.permutation(others)[:most_speakers]:
                    yield (a, b), phones[a], phones[b], speakers[other][a]


def _distances(segments, wanted):
    """Pair of places -> distance, batches of about equal lengths at once."""
    unit, counts = {}, {}
    for i in {i for pair in wanted for i in pair}:
        x = np.asarray(segments[i].frames, np.float64)
        length = np.linalg.norm(x, axis=1, keepdims=True)
        if not np.isfinite(x).all() or not (length > 0).all():
            raise ValueError(f"segment {i} has a frame that is zero or NaN")
        unit[i], counts[i] = x / length, len(x)
    order = sorted(wanted, key=lambda p: (counts[p[0]], counts[p[1]]))
    found, start = {}, 0
    while start < len(order):
        end, rows, columns = start, 0, 0
        while end < len(order):
            rows = max(rows, counts[order[end][0]])
            columns = max(columns, counts[order[end][1]])
            if end > start and (end - start + 1) * rows * columns > CELLS:
                break
            end += 1
        batch = order[start:end]
        costs = np.full((len(batch), rows, columns), np.inf)
        for k, (i, j) in enumerate(batch):
            cosine = np.clip(unit[i] @ unit[j].T, -1.0, 1.0)
            costs[k, : counts[i], : counts[j]] = np.arccos(cosine) / np.pi
        sizes = np.array([(counts[i], counts[j]) for i, j in batch])
        for pair, value in zip(batch, dtw(costs, sizes), strict=True):
            found[pair] = value
        start = end
    return found


def dtw(costs, sizes):
    """Mean cost along the best warping path, of many matrices at once.

    A path goes from the first cell to the last by steps down, right or both;
    the one of the least sum counts, divided by its cells (where sums are
    equal, a diagonal step is preferred). All matrices are walked through
    together, one anti-diagonal after the other.

    Arguments
    ---------
    costs : numpy.ndarray
        ``[n, rows, columns]``; whatever is beyond a matrix's size is not read
        by it.
    sizes : numpy.ndarray
        Rows and columns of each, ``[n, 2]``.

    Returns
    -------
    numpy.ndarray
        ``[n]``.

    Example
    -------
    >>> dtw(np.array([[[0.0, 1.0], [1.0, 0.5]]]), np.array([[2, 2]])).tolist()
    [0.25]
    """
    n, rows, columns = costs.shape
    # Sums and lengths of the last two anti-diagonals, by row (shifted by 1).
    before = [np.full((n, rows + 1), np.inf) for _ in range(2)]
    steps = [np.zeros((n, rows + 1)) for _ in range(2)]
    before[0][:, 0] = 0.0  # stands before the first cell, diagonally
    result = np.empty(n)
    last = sizes.sum(1) - 2
    for d in range(rows + columns - 1):
        low, high = max(0, d - columns + 1), min(rows - 1, d)
        i = np.arange(low, high + 1)
        choices = np.stack(
            [before[0][:, i], before[1][:, i], before[1][:, i + 1]]
        )
        lengths = np.stack([steps[0][:, i], steps[1][:, i], steps[1][:, i + 1]])
        best = choices.argmin(0)[None]
        sums, length = np.full((n, rows + 1), np.inf), np.zeros((n, rows + 1))
        here = np.take_along_axis(choices, best, 0)[0]
        sums[:, i + 1] = here + costs[:, i, d - i]
        length[:, i + 1] = np.take_along_axis(lengths, best, 0)[0] + 1
        done = np.flatnonzero(last == d)
        row = sizes[done, 0]
        result[done] = sums[done, row] / length[done, row]
        before, steps = [before[1], sums], [steps[1], length]
    return result
