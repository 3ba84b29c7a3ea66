"""Which frames of an utterance are hidden from a model.

A policy divides an utterance into pieces (segments, spans), gives each a
random key, and hides pieces in the order of their keys until
``round(ratio * frames)`` frames are hidden: exactly as many in every
utterance, whatever its length; of the piece that is hidden last, its first
frames are, if not all of it fits.

Masks are boolean ``[batch, frames]``, True where hidden, on the device of
``counts``. All draws come from ``generator``, or from torch's own.
"""

from numbers import Integral, Real

import numpy as np
import torch

from speechbrain_privacy.masking.grid import duration_histogram, shuffled
from speechbrain_privacy.nnet.pooling import frames_mask

#: Different values of a random key, of 16 bits.
LEVELS = 2**16


class FixedSpans:
    """Spans of one length that may overlap, as wav2vec 2.0 hides them.

    Source: Baevski et al., "wav2vec 2.0", NeurIPS 2020, section 3.1. Here
    spans may hang over both ends of the utterance, so that its first and
    last frames are hidden as often as others (but for the span that is cut).

    Arguments
    ---------
    ratio : float
        Share of frames to hide.
    span : int
        Frames.

    Example
    -------
    >>> hidden = FixedSpans(0.5, span=4)(torch.tensor([40, 10]))
    >>> hidden.shape, hidden.sum(1).tolist()
    (torch.Size([2, 40]), [20, 5])
    """

    def __init__(self, ratio=0.5, span=10):
        self.ratio = _checked_ratio(ratio)
        self.span = _checked_whole(span, "span", 1)

    def __call__(self, counts, begins=None, speech=None, generator=None):
        """Draws masks.

        Arguments
        ---------
        counts : torch.Tensor
            Valid frames, ``[batch]``.
        begins, speech : object
            Not used: the policy does not listen.
        generator : torch.Generator, optional

        Returns
        -------
        torch.Tensor
        """
        n_rows, n_frames = len(counts), int(counts.max())
        # A frame's key is the highest of the spans that cover it.
        keys = _coarse_keys(
            n_rows, n_frames + self.span - 1, counts.device, generator
        )
        keys = torch.nn.functional.max_pool1d(keys.float(), self.span, stride=1)
        keys = keys.short()  # sorted in half of the time
        if n_frames > int(counts.min()):
            # No lower than the lowest key, but behind it.
            keys.masked_fill_(~frames_mask(counts, n_frames), -LEVELS // 2)
        wanted = _wanted(counts, self.ratio)
        place = (n_frames - wanted).clamp(max=n_frames - 1)
        last = _sorted(keys).gather(1, place.long())
        # Of the span that is reached last its first frames are hidden.
        higher = _compared("greater", keys, last)
        equal = _compared("greater_equal", keys, last) ^ higher
        room = wanted - higher.sum(1, keepdim=True, dtype=torch.int32)
        place = equal.cumsum(1, dtype=torch.int32)
        return higher | (equal & _compared("less_equal", place, room))


class Segments:
    """Whole segments between boundaries, so that none can be read off.

    Source: after Yue & Li, "Phonetically motivated self-supervised speech
    representation learning", Interspeech 2021. With boundaries from an
    alignment it is the oracle; with ``shift`` the control that keeps the
    segments' lengths and loses their places, and so with ``shuffle``.

    Arguments
    ---------
    ratio : float
        Share of frames to hide.
    together : int
        Segments that are hidden together.
    shift : tuple of int
        Boundaries move by as many frames, drawn per utterance between these
        two (both included); what leaves at the end comes back at the start.
    shuffle : bool
        The segments of an utterance change places with each other.
    silence : float
        How likely silence is drawn, beside speech, in (0, 1]; below 1 the
        call needs ``speech``.

    Example
    -------
    >>> begins = torch.tensor([[0, 0, 0, 1, 0, 0, 1, 0, 0]]).bool()
    >>> hidden = Segments(1 / 3)(torch.tensor([9]), begins)[0].int().tolist()
    >>> sum(hidden), hidden[0] == hidden[1] == hidden[2]
    (3, True)
    """

    def __init__(
        self, ratio=0.5, together=1, shift=(0, 0), shuffle=False, silence=1.0
    ):
        self.ratio = _checked_ratio(ratio)
        self.together = _checked_whole(together, "together", 1)
        pair = isinstance(shift, list | tuple) and len(shift) == 2
        if not pair or shift[0] > shift[1]:
            raise ValueError(f"shift is (least, most) frames, not {shift}")
        self.shift = tuple(_checked_whole(x, "shift") for x in shift)
        self.shuffle = shuffle
        self.silence = _checked_silence(silence)

    def __call__(self, counts, begins, speech=None, generator=None):
        """Draws masks.

        Arguments
        ---------
        counts : torch.Tensor
            Valid frames, ``[batch]``.
        begins : torch.Tensor
            Boolean ``[batch, frames]``, True where a segment begins.
        speech : torch.Tensor, optional
            Boolean ``[batch, frames]``, False in silence.
        generator : torch.Generator, optional

        Returns
        -------
        torch.Tensor
        """
        device = counts.device
        if begins is None:
            raise ValueError(
                "Segments needs to know where they begin, e.g. from "
                "masking.boundaries.BoundaryDetector"
            )
        if begins.shape[1] < int(counts.max()):
            raise ValueError(
                f"boundaries of {begins.shape[1]} frames, but an utterance "
                f"has {int(counts.max())}"
            )
        if self.shift != (0, 0):
            least, most = self.shift
            by = torch.randint(
                least,
                most + 1,
                (len(counts), 1),
                generator=generator,
                device=device,
            )
            t = torch.arange(begins.shape[1], device=device)
            # The start of the utterance moves like any other boundary.
            begins = begins.clone()
            begins[:, 0] = True
            begins = begins.gather(1, (t - by) % counts[:, None])
        if self.shuffle:
            begins = shuffled(begins, counts, generator)
        pieces = begins.cumsum(1)
        if self.together > 1:
            phase = torch.randint(
                self.together,
                (len(counts), 1),
                generator=generator,
                device=device,
            )
            pieces = (pieces + phase).div(self.together, rounding_mode="floor")
        weights = _spared(speech, self.silence)
        return _hide(pieces, counts, self.ratio, generator, weights)


class DurationMatchedSpans:
    """Random spans as long as phones are, wherever phones may be.

    The control for ``Segments``: what is left of its advantage when only the
    lengths of what it hides are known.

    Arguments
    ---------
    durations : sequence of float, optional
        Weight of spans of 1, 2, 3, ... frames: ``duration_histogram``.
        Default: those of the segments in each batch, which is then told
        where they begin.
    ratio : float
        Share of frames to hide.
    silence : float
        As for ``Segments``.

    Example
    -------
    >>> policy = DurationMatchedSpans([0, 0, 1], ratio=0.5)  # of 3 frames
    >>> policy(torch.tensor([12, 6])).sum(1).tolist()
    [6, 3]
    """

    def __init__(self, durations=None, ratio=0.5, silence=1.0):
        self.ratio = _checked_ratio(ratio)
        self.silence = _checked_silence(silence)
        self.durations = durations
        if durations is not None:
            self.durations = torch.as_tensor(durations, dtype=torch.float)
            if not (self.durations >= 0).all() or not self.durations.sum() > 0:
                raise ValueError(
                    "durations are weights: not negative, not all 0"
                )

    def __call__(self, counts, begins=None, speech=None, generator=None):
        """Draws masks; arguments and result as in ``FixedSpans``."""
        n_rows, n_frames = len(counts), int(counts.max())
        chances = self.durations
        if chances is None:
            if begins is None:
                raise ValueError("this policy needs durations or boundaries")
            chances = duration_histogram(begins, counts)
        lengths = torch.arange(1, len(chances) + 1, device=chances.device)
        mean = float((chances * lengths).sum() / chances.sum())
        # Whole rows of spans, drawn until the shortest of them is full.
        chances = chances.to(counts.device)
        n_spans = int(1.2 * n_frames / mean) + 8
        ends = torch.zeros((n_rows, 1), dtype=torch.long, device=counts.device)
        while ends[:, -1].min() < n_frames:
            drawn = torch.multinomial(
                chances.expand(n_rows, -1),
                n_spans,
                replacement=True,
                generator=generator,
            )
            ends = torch.cat(
                [ends, ends[:, -1:] + (drawn + 1).cumsum(1)], dim=1
            )
        begins = torch.zeros(
            (n_rows, n_frames + 1), dtype=torch.bool, device=counts.device
        )
        begins.scatter_(1, ends[:, 1:].clamp(max=n_frames), True)
        pieces = begins[:, :n_frames].cumsum(1)
        weights = _spared(speech, self.silence)
        if weights is not None:
            weights = weights[:, :n_frames]
        return _hide(pieces, counts, self.ratio, generator, weights)


def _hide(pieces, counts, ratio, generator, weights=None):
    """Hides pieces in random order.

    ``pieces [batch, frames]`` rises by 0 or 1 from frame to frame, from 0 or
    1; ``weights`` are those of frames.
    """
    n_rows, n_frames = pieces.shape
    device = pieces.device
    n_pieces = max(pieces[:, -1].tolist()) + 1
    # Frames are counted in 32 bits: half of the memory to go through.
    ones = torch.ones(pieces.shape, dtype=torch.int32, device=device)
    sizes = ones.new_zeros((n_rows, n_pieces)).scatter_add_(1, pieces, ones)
    ends = sizes.cumsum(1, dtype=torch.int32)
    if int(counts.min()) < n_frames:
        # Padding was counted as part of the last piece.
        ends = torch.minimum(ends, counts[:, None].int())
        sizes = ends.diff(dim=1, prepend=ends.new_zeros(n_rows, 1))
    keys = _coarse_keys(n_rows, n_pieces, device, generator)
    if weights is not None:
        # Efraimidis & Spirakis 2006: the order of a weighted draw without
        # replacement. Pieces weigh what their frames weigh on average.
        weights = weights * frames_mask(counts, n_frames)
        total = torch.zeros_like(sizes, dtype=torch.float)
        total.scatter_add_(1, pieces, weights)
        chance = (keys + (LEVELS + 1) / 2) / LEVELS
        keys = -chance.log() * sizes / total.clamp(min=1e-6)
        keys = keys.view(torch.int32)  # positive floats sort as their bits
    order = _order(keys)
    taken = sizes.gather(1, order).cumsum(1, dtype=torch.int32)
    # Up to which frame each piece is hidden.
    missing = (_wanted(counts, ratio) - taken).clamp_(max=0)
    until = ends.scatter_add_(1, order, missing).gather(1, pieces)
    return _before(until)


def _coarse_keys(n_rows, n_columns, device, generator):
    """Random 16-bit numbers, four from each draw: drawing is what takes
    longest."""
    draws = torch.randint(
        -(2**63),
        2**63 - 1,
        (n_rows, -(-n_columns // 4)),
        generator=generator,
        device=device,
    )
    return draws.view(torch.int16)[:, :n_columns]


def _before(until):
    """Whether each frame comes before ``until [batch, frames]``."""
    if not _on_cpu(until):
        return torch.arange(until.shape[1], device=until.device) < until
    frames = np.arange(until.shape[1], dtype="int32")
    return torch.from_numpy(frames < until.numpy())


def _sorted(keys):
    """``keys.sort(1).values``."""
    if not _on_cpu(keys):
        return keys.sort(dim=1).values
    return torch.from_numpy(np.sort(keys.numpy(), axis=1))


def _on_cpu(x):
    """Where NumPy works on the same memory, in a fraction of the time that
    torch needs for so little."""
    return x.device.type == "cpu"


def _order(keys):
    """Columns by their keys, of 16 or 32 bits, ``[rows, columns]``, int64.

    With the column in its lower half a key can be sorted alone.
    """
    n_columns = keys.shape[1]
    narrow = keys.dtype == torch.int16 and n_columns <= LEVELS
    bits, kind = (16, "int32") if narrow else (32, "int64")
    if not _on_cpu(keys):
        kind = getattr(torch, kind)
        columns = torch.arange(n_columns, dtype=kind, device=keys.device)
        keys = torch.add(columns, keys, alpha=1 << bits).sort(dim=1).values
        return (keys & ((1 << bits) - 1)).long()
    keys = keys.numpy().astype(kind)
    keys <<= bits
    keys |= np.arange(n_columns, dtype=kind)
    keys.sort(axis=1)
    keys &= (1 << bits) - 1
    return torch.from_numpy(keys.astype("int64", copy=False))


def _compared(relation, one, other):
    """``torch.greater(one, other)`` and the like."""
    if not _on_cpu(one):
        return getattr(torch, relation)(one, other)
    return torch.from_numpy(getattr(np, relation)(one.numpy(), other.numpy()))


def _wanted(counts, ratio):
    """Frames to hide, ``[batch, 1]``, int32; the same on all devices."""
    if counts.is_floating_point():
        raise ValueError(
            "masks are drawn for counts of frames, whole numbers; "
            "nnet.pooling.frame_counts makes them of relative lengths"
        )
    if not _on_cpu(counts):
        return (ratio * counts).round().int()[:, None]
    wanted = np.float32(ratio) * counts.numpy().astype("float32")
    return torch.from_numpy(wanted.round().astype("int32")[:, None])


def _checked_whole(number, name, least=None):
    if not isinstance(number, Integral) or (
        least is not None and number < least
    ):
        more = "" if least is None else f", {least} or more"
        raise ValueError(f"{name} is a whole number{more}, not {number}")
    return number


def _checked_ratio(ratio):
    if not isinstance(ratio, Real) or not 0.0 < ratio < 1.0:
        raise ValueError(f"the ratio of hidden frames lies in (0, 1): {ratio}")
    return ratio


def _checked_silence(silence):
    if not isinstance(silence, Real) or not 0.0 < silence <= 1.0:
        raise ValueError(f"silence lies in (0, 1], not {silence}")
    return silence


def _spared(speech, silence):
    """Weights of frames, if silence is hidden less often."""
    if silence == 1.0:
        return None
    if speech is None:
        raise ValueError("silence below 1 needs to know what is speech")
    return torch.where(speech, 1.0, silence)
