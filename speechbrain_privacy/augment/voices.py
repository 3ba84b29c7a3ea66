"""Other voices with the same timing: vocal tract, pitch, room.

Frames stay where they are, so that phones, boundaries and targets of frames
stay true.
"""

import torch
import torchaudio

#: Seconds of a window; four hops.
WINDOW = 0.032
#: Seconds of the cepstrum that are the envelope; pitch periods are longer.
LIFTER = 0.003
#: Largest gain of an envelope, in nepers (30 dB).
MOST = 3.45


class _Spectral(torch.nn.Module):
    """Short-time spectra there and back."""

    def __init__(self, sample_rate):
        super().__init__()
        self.sample_rate = sample_rate
        self.n_fft = 4 * round(WINDOW * sample_rate / 4)
        self.hop = self.n_fft // 4
        self.register_buffer("window", torch.hann_window(self.n_fft))

    def spectrum(self, wavs):
        """``[batch, samples]`` -> complex ``[batch, bins, frames]``."""
        return torch.stft(
            wavs.float(),
            self.n_fft,
            self.hop,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )

    def waveform(self, spectrum, n_samples):
        """Back again."""
        return torch.istft(
            spectrum, self.n_fft, self.hop, window=self.window, length=n_samples
        )


class VocalTract(_Spectral):
    """Scales the frequencies of formants; pitch stays.

    Source: vocal tract length normalisation (Lee & Rose, TSAP 1998) on
    smoothed cepstral envelopes.

    Arguments
    ---------
    factor : float or tuple of float
        Above 1 formants go up, as of a shorter vocal tract. Of two, one is
        drawn between them for each waveform.
    sample_rate : int
        In Hz.

    Example
    -------
    >>> VocalTract(1.1)(torch.randn(2, 4000)).shape
    torch.Size([2, 4000])
    """

    def __init__(self, factor=(0.87, 1.15), sample_rate=16000):
        super().__init__(sample_rate)
        self.range = _range(factor)
        self.n_cepstra = round(LIFTER * sample_rate)

    def forward(self, wavs, lengths=None):
        """``wavs [batch, samples]`` -> the same shape."""
        factors = _draw(self.range, len(wavs), wavs.device)
        return self.scaled(wavs, factors).to(wavs.dtype)

    def scaled(self, wavs, factors):
        """Each waveform by its own of ``factors [batch]``."""
        x = self.spectrum(wavs)
        log = x.abs().clamp(min=1e-6).log()
        cepstrum = torch.fft.irfft(log, dim=1)
        cepstrum[:, self.n_cepstra : 1 - self.n_cepstra] = 0.0
        envelope = torch.fft.rfft(cepstrum, dim=1).real
        bins = torch.arange(x.shape[1], device=x.device)
        at = (bins / factors.unsqueeze(1)).clamp(max=x.shape[1] - 1)
        low = at.floor().long()
        high = (low + 1).clamp(max=x.shape[1] - 1)
        part = (at - low).unsqueeze(2)
        index = low.unsqueeze(2).expand(-1, -1, x.shape[2])
        other = high.unsqueeze(2).expand(-1, -1, x.shape[2])
        moved = envelope.gather(1, index) * (1 - part)
        moved = moved + envelope.gather(1, other) * part
        gain = (moved - envelope).clamp(-MOST, MOST).exp()
        return self.waveform(x * gain, wavs.shape[1])


class Pitch(_Spectral):
    """Scales the pitch; formants stay.

    A phase vocoder stretches, resampling takes the stretch back and lifts
    everything, and the envelope is put back where it was.

    Arguments
    ---------
    factor : float or tuple of float
        Of the fundamental frequency, to the percent. Of two, one is drawn
        between them for each waveform.
    sample_rate : int
        In Hz.

    Example
    -------
    >>> Pitch(1.2)(torch.randn(2, 4000)).shape
    torch.Size([2, 4000])
    """

    def __init__(self, factor=(0.8, 1.25), sample_rate=16000):
        super().__init__(sample_rate)
        self.range = _range(factor)
        self.tract = VocalTract(1.0, sample_rate)
        bins = self.n_fft // 2 + 1
        advance = torch.linspace(0, torch.pi * self.hop, bins).unsqueeze(1)
        self.register_buffer("advance", advance)

    def forward(self, wavs, lengths=None):
        """``wavs [batch, samples]`` -> the same shape."""
        n_samples = wavs.shape[1]
        factors = _draw(self.range, len(wavs), wavs.device)
        lifted = []
        for row, factor in zip(wavs, factors.tolist(), strict=True):
            percent = round(100 * factor)
            stretched = torchaudio.functional.phase_vocoder(
                self.spectrum(row.unsqueeze(0)), 100 / percent, self.advance
            )
            longer = -(-n_samples * percent // 100)
            wide = self.waveform(stretched, longer)
            back = torchaudio.functional.resample(wide, percent, 100)
            missing = max(0, n_samples - back.shape[1])
            back = torch.nn.functional.pad(back, (0, missing))
            lifted.append(back[:, :n_samples])
        scale = 1 / ((100 * factors).round() / 100)
        return self.tract.scaled(torch.cat(lifted), scale).to(wavs.dtype)


class Equalizer(_Spectral):
    """A smooth random filter, as of another microphone and room.

    Arguments
    ---------
    decibels : float
        Standard deviation of the gain.
    sample_rate : int
        In Hz.
    waves : int
        Cosines over frequency that the gain is made of.

    Example
    -------
    >>> Equalizer()(torch.randn(2, 4000)).shape
    torch.Size([2, 4000])
    """

    def __init__(self, decibels=4.0, sample_rate=16000, waves=6):
        super().__init__(sample_rate)
        self.decibels = decibels
        self.waves = waves

    def forward(self, wavs, lengths=None):
        """``wavs [batch, samples]`` -> the same shape."""
        x = self.spectrum(wavs)
        place = torch.linspace(0, torch.pi, x.shape[1], device=x.device)
        order = torch.arange(1, self.waves + 1, device=x.device).unsqueeze(1)
        shapes = (order * place).cos() * (2 / self.waves) ** 0.5
        size = torch.randn(len(wavs), self.waves, device=x.device)
        gain = 10 ** (self.decibels * size @ shapes / 20)
        out = self.waveform(x * gain.unsqueeze(2), wavs.shape[1])
        return out.to(wavs.dtype)


def _range(factor):
    low, high = factor if isinstance(factor, list | tuple) else (factor, factor)
    if not 0.5 <= low <= high <= 2.0:
        raise ValueError(f"factors lie between 0.5 and 2, not {factor}")
    return low, high


def _draw(limits, n, device):
    """Even on a logarithmic scale."""
    low, high = (torch.tensor(x).log() for x in limits)
    return (low + (high - low) * torch.rand(n)).exp().to(device)
