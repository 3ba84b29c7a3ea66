"""What a voice does, frame by frame: pitch, loudness, timbre.

Targets of pretext tasks (Zaiem et al., "Pretext tasks selection for multitask
self-supervised audio representation learning", JSTSP 2022), after the
definitions of openSMILE's sets, in batched torch; every 10 ms.
"""

import torch
import torchaudio
from speechbrain.utils.autocast import fwd_default_precision

from speechbrain_privacy.nnet.pooling import frames_mask

NAMES = (
    "f0",
    "voicing",
    "log_hnr",
    "rms",
    "zero_crossing",
    "alpha_ratio",
    "rasta",
)
STEP, WINDOW = 0.01, 0.04
#: Hertz, of pitch.
LOWEST, HIGHEST = 60.0, 500.0
#: Height of the peak above which a frame is voiced.
VOICED = 0.45
#: What a period twice as long is worth less.
OCTAVE = 0.03
#: Power below which there is nothing.
FLOOR = 1e-8
#: Hertz: below, between and above, for the alpha ratio.
ALPHA = (50.0, 1000.0, 5000.0)


class Descriptors(torch.nn.Module):
    """Waveforms -> descriptors, 100 frames a second.

    ``f0`` in Hz (0 where unvoiced), ``voicing`` (height of the normalised
    autocorrelation's peak, 0 to 1), ``log_hnr`` in dB (harmonics to noise, by
    the same peak, Boersma 1993), ``rms``, ``zero_crossing`` (share of
    neighbouring samples), ``alpha_ratio`` in dB (50 to 1000 Hz beside 1 to 5
    kHz), ``rasta`` (sum of the RASTA-filtered auditory spectrum).

    Arguments
    ---------
    names : list of str, or dict
        Which; of a dict, those with a weight above 0.
    sample_rate : int
        In Hz.
    n_mels : int
        Bands of the auditory spectrum.

    Example
    -------
    >>> wave = torch.sin(torch.arange(16000) * 2 * torch.pi * 200 / 16000)
    >>> found = Descriptors(["f0", "rms"])(0.5 * wave.unsqueeze(0))
    >>> found.shape, [round(x, 2) for x in found[0, 50].tolist()]
    (torch.Size([1, 101, 2]), [200.0, 0.35])
    """

    def __init__(self, names=NAMES, sample_rate=16000, n_mels=26):
        super().__init__()
        if isinstance(names, dict):
            names = [name for name, weight in names.items() if weight > 0]
        unknown = [name for name in names if name not in NAMES]
        if unknown or not names:
            raise ValueError(
                f"descriptors are {', '.join(NAMES)}, not {unknown or 'none'}"
            )
        self.names = list(names)
        self.sample_rate = sample_rate
        self.hop = round(STEP * sample_rate)
        self.size = round(WINDOW * sample_rate)
        self.n_fft = 1 << (2 * self.size - 1).bit_length()
        window = torch.hann_window(self.size)
        self.register_buffer("window", window)
        # A window's own autocorrelation falls with the lag: divided out.
        own = _autocorrelation(window.unsqueeze(0), self.n_fft)[0]
        self.register_buffer("own", own / own[0])
        mel = torchaudio.functional.melscale_fbanks(
            self.n_fft // 2 + 1, 20.0, sample_rate / 2, n_mels, sample_rate
        )
        self.register_buffer("mel", mel)
        # RASTA: Hermansky & Morgan 1994, equation 7 (without its delay).
        self.register_buffer("rise", torch.tensor([0.2, 0.1, 0.0, -0.1, -0.2]))
        self.register_buffer("fall", torch.tensor([1.0, -0.98, 0.0, 0.0, 0.0]))

    @torch.no_grad()
    @fwd_default_precision
    def forward(self, wavs):
        """Describes a batch, in float32 even under autocast.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``, full scale 1.

        Returns
        -------
        torch.Tensor
            ``[batch, frames, descriptors]``; frame t is centred on t times
            10 ms.
        """
        half = self.size // 2
        padded = torch.nn.functional.pad(wavs.float(), (half, half))
        frames = padded.unfold(1, self.size, self.hop)
        frames = frames[:, : wavs.shape[1] // self.hop + 1]
        frames = frames - frames.mean(2, keepdim=True)
        shaped = frames * self.window
        power = torch.fft.rfft(shaped, self.n_fft).abs().square()
        found = {
            "rms": frames.square().mean(2).sqrt(),
            "zero_crossing": (frames[..., 1:] * frames[..., :-1] < 0)
            .float()
            .mean(2),
            "alpha_ratio": self._alpha(power),
        }
        if {"f0", "voicing", "log_hnr"} & set(self.names):
            found |= self._pitch(power)
        if "rasta" in self.names:
            found["rasta"] = self._rasta(power)
        return torch.stack([found[name] for name in self.names], dim=2)

    def _alpha(self, power):
        hertz = torch.linspace(
            0, self.sample_rate / 2, power.shape[2], device=power.device
        )
        low, middle, high = (hertz >= bound for bound in ALPHA)
        below = power[..., low & ~middle].sum(2)
        above = power[..., middle & ~high].sum(2)
        return 10 * ((below + FLOOR).log10() - (above + FLOOR).log10())

    def _pitch(self, power):
        r = torch.fft.irfft(power, self.n_fft)
        energy = r[..., :1]
        first = int(self.sample_rate / HIGHEST)
        last = int(self.sample_rate / LOWEST) + 1
        r = r[..., first - 1 : last + 2] / (energy + FLOOR)
        r = r / self.own[first - 1 : last + 2].clamp(min=1e-3)
        inner = r[..., 1:-1]
        # The largest of the peaks; at the edges there are none.
        peak = (inner >= r[..., :-2]) & (inner >= r[..., 2:])
        # Of peaks alike, the shortest period (Boersma's octave cost).
        lags = torch.arange(first, last + 1, device=r.device)
        cost = OCTAVE * (lags / first).log2()
        at = (inner - cost).masked_fill(~peak, -1.0).argmax(2)
        sides = [
            r.gather(2, (at + k).unsqueeze(2)).squeeze(2) for k in range(3)
        ]
        bend = sides[0] - 2 * sides[1] + sides[2]
        shift = 0.5 * (sides[0] - sides[2]) / bend.clamp(max=-1e-9)
        height = torch.where(
            peak.any(2), sides[1], torch.zeros_like(sides[1])
        ).clamp(0.0, 1.0)
        pitch = self.sample_rate / (first + at + shift.clamp(-0.5, 0.5))
        share = height.clamp(1e-4, 1 - 1e-4)
        return {
            "f0": torch.where(height > VOICED, pitch, torch.zeros_like(pitch)),
            "voicing": height,
            "log_hnr": 10 * (share / (1 - share)).log10(),
        }

    def _rasta(self, power):
        log = (power @ self.mel + FLOOR).log().transpose(1, 2)
        # What was before the beginning is like the beginning.
        filtered = torchaudio.functional.lfilter(
            log - log[..., :1], self.fall, self.rise, clamp=False
        )
        return filtered.clamp(max=20.0).exp().sum(1)


def _autocorrelation(frames, n_fft):
    spectrum = torch.fft.rfft(frames, n_fft).abs().square()
    return torch.fft.irfft(spectrum, n_fft)


def standardised(x, counts):
    """Each channel of each utterance to mean 0 and variance 1.

    What is left says how a voice moves, not where it lies.

    Arguments
    ---------
    x : torch.Tensor
        ``[batch, frames, channels]``.
    counts : torch.Tensor
        Valid frames, ``[batch]``.

    Returns
    -------
    torch.Tensor
        Zero where padded, and where a channel never changes.

    Example
    -------
    >>> x = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> standardised(x, torch.tensor([2]))[0, :, 0].tolist()
    [-1.0, 1.0, 0.0]
    """
    mask = frames_mask(counts, x.shape[1]).unsqueeze(2)
    n = counts[:, None, None].clamp(min=1)
    mean = (x * mask).sum(1, keepdim=True) / n
    centred = (x - mean) * mask
    spread = (centred.square().sum(1, keepdim=True) / n).sqrt()
    flat = spread < 1e-5 * (1 + mean.abs())
    return centred / spread.masked_fill(flat, torch.inf)
