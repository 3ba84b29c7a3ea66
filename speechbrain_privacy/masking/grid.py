"""Segments on a grid of frames: booleans, True where one begins."""

import torch

from speechbrain_privacy.nnet.pooling import frames_mask


def duration_histogram(begins, counts, longest=50):
    """How often segments last 1, 2, 3, ... frames.

    Arguments
    ---------
    begins : torch.Tensor
        Boolean ``[batch, frames]``.
    counts : torch.Tensor
        Valid frames, ``[batch]``.
    longest : int
        Frames; what lasts longer is counted here.

    Returns
    -------
    torch.Tensor
        ``[longest]``, a share for each duration.

    Example
    -------
    >>> begins = torch.tensor([[0, 0, 1, 0, 0, 1, 0]]).bool()
    >>> duration_histogram(begins, torch.tensor([7]), 4).tolist()
    [0.0, 0.6666666865348816, 0.3333333432674408, 0.0]
    """
    starts = begins & frames_mask(counts, begins.shape[1])
    starts[:, 0] = True
    row, at = starts.nonzero(as_tuple=True)
    # The next start of the row, or where the row ends.
    after = torch.where(
        torch.nn.functional.pad(row[1:], (0, 1), value=-1) == row,
        torch.nn.functional.pad(at[1:], (0, 1)),
        counts[row],
    )
    lasting = (after - at).clamp(max=longest)
    found = torch.bincount(lasting - 1, minlength=longest).float()
    return found / found.sum()


def slowed(begins, stride):
    """Boundaries at a lower frame rate.

    Arguments
    ---------
    begins : torch.Tensor
        Boolean ``[batch, frames]``.
    stride : int
        Frames that become one.

    Returns
    -------
    torch.Tensor
        ``[batch, ceil(frames / stride)]``, True where any of them was, to
        the nearest.

    Example
    -------
    >>> slowed(torch.tensor([[0, 0, 1, 0, 0, 0, 0, 1]]).bool(), 4).tolist()
    [[False, True]]
    """
    n_frames = -(-begins.shape[1] // stride)
    row, at = begins.nonzero(as_tuple=True)
    slow = torch.zeros(
        (len(begins), n_frames + 1), dtype=torch.bool, device=begins.device
    )
    slow[row, (at + stride // 2) // stride] = True
    return slow[:, :n_frames]


def shuffled(begins, counts, generator=None):
    """Boundaries of the same segments in random order.

    Arguments
    ---------
    begins : torch.Tensor
        Boolean ``[batch, frames]``.
    counts : torch.Tensor
        Valid frames, ``[batch]``.
    generator : torch.Generator, optional

    Returns
    -------
    torch.Tensor
        As ``begins``, True also where the utterance ends.

    Example
    -------
    >>> begins = torch.tensor([[1, 0, 0, 1, 0, 1, 0, 0]]).bool()
    >>> moved = shuffled(begins, torch.tensor([6]))
    >>> [x.item() for x in duration_histogram(moved, torch.tensor([6]), 3) * 3]
    [1.0, 1.0, 1.0]
    """
    n_rows, n_frames = begins.shape
    inside = frames_mask(counts, n_frames)
    pieces = (begins & inside).cumsum(1)
    sizes = torch.zeros(
        (n_rows, n_frames + 1), dtype=torch.long, device=begins.device
    )
    sizes.scatter_add_(1, pieces, inside.long())
    keys = torch.rand(sizes.shape, generator=generator, device=begins.device)
    ends = sizes.gather(1, keys.argsort(1)).cumsum(1)
    moved = torch.zeros_like(sizes, dtype=torch.bool)
    return moved.scatter_(1, ends, True)[:, :n_frames]
