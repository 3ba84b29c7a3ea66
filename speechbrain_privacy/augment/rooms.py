"""Rooms that are drawn: reverberation without recordings of any."""

import math

import torch

from speechbrain_privacy.nnet.pooling import frames_mask, valid_counts

#: Of the energy, over the time that is called reverberation time.
DECAY = math.log(10.0**6)


class Reverberation(torch.nn.Module):
    """Puts each utterance into a room of its own.

    The room's answer is the direct sound and, behind it, noise that decays
    exponentially. Nothing is delayed: frames and boundaries stay where they
    are. Speech keeps its level.

    Source: Polack, "Playing billiards in the concert hall", Applied Acoustics
    1993 (a room's late answer is decaying noise).

    Arguments
    ---------
    seconds : tuple of float
        Until the reverberation has fallen by 60 decibels, least and most.
    decibels : tuple of float
        How much louder the direct sound is, least and most.
    sample_rate : int
        In Hz.

    Example
    -------
    >>> wavs, lengths = torch.randn(2, 8000), torch.tensor([1.0, 0.5])
    >>> wet = Reverberation()(wavs, lengths)
    >>> wet.shape, float(wet[1, 4000:].abs().max())
    (torch.Size([2, 8000]), 0.0)
    """

    def __init__(
        self, seconds=(0.1, 0.6), decibels=(0.0, 12.0), sample_rate=16000
    ):
        super().__init__()
        if not 0 < seconds[0] <= seconds[1]:
            raise ValueError(
                f"seconds are (least, most) and positive, not {seconds}"
            )
        if decibels[0] > decibels[1]:
            raise ValueError(f"decibels are (least, most), not {decibels}")
        self.seconds = tuple(seconds)
        self.decibels = tuple(decibels)
        self.sample_rate = sample_rate

    def forward(self, wavs, lengths):
        """Changes a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``, zero where padded.
        lengths : torch.Tensor
            Relative, ``[batch]``.

        Returns
        -------
        torch.Tensor
            A new one of the same shape.
        """
        n_rows, n_samples = wavs.shape
        n_room = int(self.seconds[1] * self.sample_rate)
        seconds = wavs.new_empty(n_rows, 1).uniform_(*self.seconds)
        decibels = wavs.new_empty(n_rows, 1).uniform_(*self.decibels)
        t = torch.arange(n_room, device=wavs.device) / self.sample_rate
        room = torch.randn(n_rows, n_room, device=wavs.device)
        room = room * torch.exp(-0.5 * DECAY * t / seconds)
        room[:, 0] = 0.0
        room = room / room.square().sum(1, keepdim=True).sqrt()
        room = room * 10 ** (-decibels / 20)
        room[:, 0] = 1.0
        size = n_samples + n_room
        wet = torch.fft.irfft(
            torch.fft.rfft(wavs.float(), size) * torch.fft.rfft(room, size),
            size,
        )[:, :n_samples]
        inside = frames_mask(valid_counts(lengths, n_samples), n_samples)
        wet = wet.masked_fill(~inside, 0.0)
        gain = wavs.float().norm(dim=1) / wet.norm(dim=1).clamp(min=1e-12)
        return (wet * gain.unsqueeze(1)).to(wavs.dtype)
