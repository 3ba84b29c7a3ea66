"""Other voices under an utterance, whose own words are wanted.

Source: Chen et al., "WavLM", JSTSP 2022, algorithm 1: masked prediction then
is denoising as well.
"""

import torch


class UtteranceMixing(torch.nn.Module):
    """Adds a piece of another utterance of the batch to some.

    The utterance itself stays the longer part of what is heard: the piece
    covers at most ``most`` of it.

    Arguments
    ---------
    probability : float
        That an utterance is mixed.
    most : float
        Largest share of it that another covers.
    decibels : tuple of float
        How much louder it is than the other, least and most.

    Example
    -------
    >>> wavs, lengths = torch.randn(2, 800), torch.tensor([1.0, 0.5])
    >>> mixed = UtteranceMixing(1.0)(wavs, lengths)
    >>> mixed.shape, bool((mixed[1, 400:] == wavs[1, 400:]).all())
    (torch.Size([2, 800]), True)
    """

    def __init__(self, probability=0.2, most=0.5, decibels=(-5.0, 5.0)):
        super().__init__()
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"a probability lies in [0, 1]: {probability}")
        if not 0.0 < most <= 0.5:
            raise ValueError(
                f"another utterance covers at most half of one, not {most}"
            )
        if decibels[0] > decibels[1]:
            raise ValueError(f"decibels are (least, most), not {decibels}")
        self.probability = probability
        self.most = most
        self.decibels = tuple(decibels)

    def forward(self, wavs, lengths):
        """Mixes a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``.
        lengths : torch.Tensor
            Relative, ``[batch]``.

        Returns
        -------
        torch.Tensor
            A new one of the same shape; what is padding stays.
        """
        n_rows, n_samples = wavs.shape
        if n_rows < 2:
            return wavs
        counts = (lengths * n_samples).round().long().tolist()
        mixed = wavs.clone()
        draws = torch.rand(n_rows, 5).tolist()
        for i, (chance, other, size, place, start) in enumerate(draws):
            if chance >= self.probability:
                continue
            j = (i + 1 + int(other * (n_rows - 1))) % n_rows
            longest = min(int(self.most * counts[i]), counts[j])
            n = max(1, int(size * longest)) if longest else 0
            to = int(place * (counts[i] - n + 1))
            begin = int(start * (counts[j] - n + 1))
            piece = wavs[j, begin : begin + n]
            low, high = self.decibels
            wanted = low + (high - low) * torch.rand(()).item()
            energies = [
                wavs[k, : counts[k]].square().mean().clamp(min=1e-12)
                for k in (i, j)
            ]
            gain = (energies[0] / energies[1] / 10 ** (wanted / 10)).sqrt()
            mixed[i, to : to + n] += gain * piece
        return mixed
