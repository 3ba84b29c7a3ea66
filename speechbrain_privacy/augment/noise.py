"""Noise that is made, and speech as it is heard elsewhere."""

import torch

from speechbrain_privacy.augment.rooms import Reverberation
from speechbrain_privacy.nnet.pooling import frames_mask, valid_counts

#: Hz below which there is no noise: nobody hears it, and it would take most
#: of what the ratio allows.
LOWEST = 50.0


class PinkNoise(torch.nn.Module):
    """Adds noise whose power falls by 3 decibels an octave, above 50 Hz.

    The ratio is that of the utterance's own samples, whatever it is padded
    with; padding stays what it was. (SpeechBrain's ``pink_noise_like`` falls
    by 6 decibels from 0 Hz on: hardly any of it is heard; its ``AddNoise``
    adds less the more a row is padded.)

    Arguments
    ---------
    snr : tuple of float
        Decibels of speech above noise, least and most, drawn for each
        utterance.
    sample_rate : int
        In Hz.

    Example
    -------
    >>> wavs, lengths = torch.randn(2, 8000), torch.tensor([1.0, 0.5])
    >>> worse = PinkNoise((0.0, 0.0))(wavs, lengths)
    >>> float((worse - wavs)[1, 4000:].abs().max())
    0.0
    """

    def __init__(self, snr=(0.0, 20.0), sample_rate=16000):
        super().__init__()
        if snr[0] > snr[1]:
            raise ValueError(f"snr is (least, most) in decibels, not {snr}")
        self.snr = tuple(snr)
        self.sample_rate = sample_rate

    def forward(self, wavs, lengths):
        """Changes a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``.
        lengths : torch.Tensor
            Relative, ``[batch]``.

        Returns
        -------
        torch.Tensor
            A new one of the same shape.
        """
        n_rows, n_samples = wavs.shape
        snr = torch.empty(n_rows, 1, device=wavs.device).uniform_(*self.snr)
        # Of a second at least: less has no frequency as low as these.
        size = max(n_samples, self.sample_rate)
        spectrum = torch.fft.rfft(torch.randn(n_rows, size, device=wavs.device))
        hertz = torch.fft.rfftfreq(
            size, 1 / self.sample_rate, device=wavs.device
        )
        falling = hertz.clamp(min=LOWEST).rsqrt() * (hertz >= LOWEST)
        noise = torch.fft.irfft(spectrum * falling, size)[:, :n_samples]
        outside = ~frames_mask(valid_counts(lengths, n_samples), n_samples)
        noise = noise.masked_fill(outside, 0.0)
        speech = wavs.float().masked_fill(outside, 0.0)
        loudness = speech.norm(dim=1, keepdim=True) * 10 ** (-snr / 20)
        gain = loudness / noise.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return wavs + (gain * noise).to(wavs.dtype)


class WorseHeard(torch.nn.Module):
    """Each utterance in a room of its own, and pink noise: another view.

    Arguments
    ---------
    sample_rate : int
        In Hz.
    snr : tuple of float
        As of ``PinkNoise``.

    Example
    -------
    >>> wavs, lengths = torch.randn(2, 8000), torch.tensor([1.0, 0.5])
    >>> WorseHeard()(wavs, lengths).shape
    torch.Size([2, 8000])
    """

    def __init__(self, sample_rate=16000, snr=(0.0, 20.0)):
        super().__init__()
        self.room = Reverberation(sample_rate=sample_rate)
        self.noise = PinkNoise(snr, sample_rate)

    def forward(self, wavs, lengths):
        """``wavs [batch, samples]``, relative lengths -> the same shape."""
        return self.noise(self.room(wavs, lengths), lengths)
