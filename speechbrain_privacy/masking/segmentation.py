"""The segments whose frames are most alike, by dynamic programming."""

import torch

from speechbrain_privacy.nnet.pooling import frames_mask

#: Logarithms of prices, in units of a frame's mean squared distance, and how
#: many of them are tried at once, coarse to fine.
LOW, HIGH = -5.0, 8.0
PRICES = (16, 12, 8)
#: Least unit: what varies less is silence, or rounding.
UNIT = 1e-2


def least_variance(x, counts, wanted, bonus=None, shortest=5, longest=40):
    """Segments whose frames lie closest to their own means.

    Minimal is the sum of squared distances of frames to their segment's
    mean, less the ``bonus`` where a segment begins, plus a price for every
    segment. Each row looks up the price that gives at most as many
    boundaries as are wanted, and nearly so many.

    Arguments
    ---------
    x : torch.Tensor
        ``[batch, frames, dim]``.
    counts : torch.Tensor
        Valid frames, ``[batch]``.
    wanted : torch.Tensor
        Boundaries, ``[batch]``.
    bonus : torch.Tensor, optional
        ``[batch, frames]``, what speaks for a boundary before a frame.
    shortest, longest : int
        Frames of a segment. A row with fewer frames is one segment;
        one with many has at least as many segments as the longest ask for.

    Returns
    -------
    torch.Tensor
        Boolean ``[batch, frames]``, True where a segment but the first
        begins.

    Example
    -------
    >>> x = torch.tensor([0.0] * 6 + [5.0] * 7 + [1.0] * 8).view(1, -1, 1)
    >>> least_variance(x, torch.tensor([21]), torch.tensor([2])).nonzero()
    tensor([[ 0,  6],
            [ 0, 13]])
    """
    valid = frames_mask(counts, x.shape[1])
    x = _centred(x, valid)
    cost = _costs(x, shortest, longest)
    if bonus is not None:
        # Paid where a segment ends, which is where the next begins.
        cost[:, : x.shape[1] - 1] -= bonus[:, 1:].t()
    # Prices in units of the mean squared distance of a frame.
    unit = x.square().sum((1, 2)) / counts
    unit = unit.clamp(min=UNIT)
    low = torch.full((len(x), 1), LOW, device=x.device)
    high = torch.full((len(x), 1), HIGH, device=x.device)
    for n_prices in PRICES:
        steps = torch.linspace(0, 1, n_prices, device=x.device)
        logs = low + (high - low) * steps
        prices = logs.exp() * unit[:, None]
        best = _recursion(cost, prices, longest, shortest)
        # The least cost is concave in the price, and its slope the number of
        # segments: between two prices lies that of their secant.
        total = best[longest + counts, torch.arange(len(x), device=x.device)]
        slope = total.diff(dim=1) / prices.diff(dim=1)
        many = (slope > wanted[:, None] + 1).sum(1, keepdim=True)
        low = logs.gather(1, (many - 1).clamp(min=0))
        high = logs.gather(1, (many + 1).clamp(max=n_prices - 1))
    best = _recursion(cost, high.exp() * unit[:, None], longest, shortest)
    return (
        _way_back(cost, best[..., 0], counts, longest)[:, : x.shape[1]] & valid
    )


def _centred(x, valid):
    valid = valid.unsqueeze(2)
    x = x.masked_fill(~valid, 0.0)
    mean = x.sum(1, keepdim=True) / valid.sum(1, keepdim=True)
    return (x - mean).masked_fill(~valid, 0.0)


def _costs(x, shortest, longest):
    """``[length, frame, batch]``: segments that end with a frame.

    The longest comes first; frames are filled up to whole blocks of
    ``shortest``, see ``_recursion``.
    """
    n_rows, n_frames, _ = x.shape
    x = x.double().permute(2, 1, 0).contiguous()
    pad = (0, 0, 1, 0)
    sums = torch.nn.functional.pad(x.cumsum(1), pad)
    squares = torch.nn.functional.pad(x.square().sum(0).cumsum(0), pad)
    n_blocks = -(-n_frames // shortest)
    cost = torch.full(
        (longest - shortest + 1, n_blocks * shortest, n_rows),
        float("inf"),
        device=x.device,
    )
    for length in range(shortest, min(longest, n_frames) + 1):
        inner = squares[length:] - squares[:-length]
        total = (sums[:, length:] - sums[:, :-length]).square_().sum(0)
        cost[longest - length, length - 1 : n_frames] = inner - total / length
    return cost


def _recursion(cost, prices, longest, shortest):
    """``[longest + t, batch, price]``: the least cost of t frames.

    No segment is shorter than ``shortest``, so as many frames in a row wait
    for nothing but what lies before them all: they are done at once.
    """
    n_lengths, n_frames, n_rows = cost.shape
    best = torch.full(
        (longest + n_frames + 1, *prices.shape),
        float("inf"),
        device=cost.device,
    )
    best[longest] = 0.0
    # ways[length, t]: the least cost of what lies before a segment.
    ways = best.unfold(0, n_lengths, 1)[1:].permute(3, 0, 1, 2)
    new = best[longest + 1 :]
    cost = cost.unsqueeze(3)
    for t in range(0, n_frames, shortest):
        block = slice(t, t + shortest)
        options = ways[:, block] + cost[:, block]
        torch.add(options.amin(0), prices, out=new[block])
    return best


def _way_back(cost, best, counts, longest):
    """Where the cheapest segments begin, boolean ``[batch, frames]``.

    Only at boundaries it is asked which length was the cheapest.
    """
    n_lengths, n_frames, n_rows = cost.shape
    ways = best.unfold(0, n_lengths, 1)[1:]
    cost = cost.permute(1, 2, 0)
    begins = torch.zeros(
        (n_rows, n_frames + 1), dtype=torch.bool, device=cost.device
    )
    rows = torch.arange(n_rows, device=cost.device)
    end = counts - 1
    while (end >= 0).any():
        at = end.clamp(min=0)
        place = (ways[at, rows] + cost[at, rows]).argmin(1)
        begins[rows, torch.where(end >= 0, end + 1, n_frames)] = True
        end = end - (longest - place)
    return begins[:, :n_frames]
