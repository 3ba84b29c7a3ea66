"""McAdams: formants moved by turning the poles of linear prediction.

Source: Patino et al., "Speaker anonymisation using the McAdams coefficient",
Interspeech 2021; baseline B2 of the VoicePrivacy Challenges. No training, no
model of any speaker; it hides little from attackers who know of it.
"""

import torch

#: Added to the energy of a frame, relative and absolute: silence has a
#: spectrum, too, then.
RIDGE, FLOOR = 1e-9, 1e-12


class McAdams(torch.nn.Module):
    """Waveforms -> waveforms of the same length, as another voice.

    Each frame is windowed, whitened by linear prediction, coloured again by
    poles whose angles were raised to the power of the coefficient, and
    windowed once more: what rings on at its end would be cut off otherwise.

    Arguments
    ---------
    coefficient : float or tuple of float
        1 changes nothing; 0.8 is the Challenges'. Of two, one is drawn
        between them for each waveform, by torch's own generator.
    sample_rate : int
        In Hz.
    order : int
        Of the prediction.
    hop : float
        Seconds; a window is two hops.

    Example
    -------
    >>> wavs = torch.randn(2, 4000)
    >>> McAdams()(wavs).shape
    torch.Size([2, 4000])
    """

    def __init__(
        self,
        coefficient=0.8,
        sample_rate=16000,
        order=20,
        hop=0.01,
    ):
        super().__init__()
        low, high = (
            coefficient
            if isinstance(coefficient, list | tuple)
            else (coefficient, coefficient)
        )
        if not 0.5 <= low <= high <= 2.0:
            raise ValueError(
                "coefficients lie between 0.5 and 2, the lower one first: "
                f"{coefficient}"
            )
        self.low, self.high = low, high
        self.order = order
        self.hop = round(hop * sample_rate)
        if self.hop < order:
            raise ValueError(f"{self.hop} samples a hop are too few")
        # Twice applied, halves of neighbours sum to one.
        ramp = torch.hann_window(2 * self.hop, dtype=torch.float64).sqrt()
        self.register_buffer("window", ramp)

    def forward(self, wavs, lengths=None):
        """Changes a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            ``[batch, samples]``.
        lengths : torch.Tensor, optional
            Not used: silence that was padded stays silence.

        Returns
        -------
        torch.Tensor
        """
        n_rows, n_samples = wavs.shape
        x = wavs.to(torch.float64)
        n_frames = -(-n_samples // self.hop) + 1
        missing = (n_frames + 1) * self.hop - n_samples
        x = torch.nn.functional.pad(x, (self.hop, missing - self.hop))
        frames = x.unfold(1, 2 * self.hop, self.hop) * self.window
        share = torch.rand(n_rows, 1, dtype=torch.float64, device=x.device)
        power = self.low + (self.high - self.low) * share
        power = power.expand(-1, frames.shape[1]).flatten()
        changed = self._recoloured(frames.flatten(0, 1), power)
        changed = (changed * self.window).unflatten(0, (n_rows, -1))
        # Overlap and add: second halves come a hop later.
        first, second = changed.split(self.hop, dim=2)
        pad = torch.nn.functional.pad
        out = pad(first, (0, 0, 0, 1)) + pad(second, (0, 0, 1, 0))
        out = out.flatten(1)[:, self.hop : self.hop + n_samples]
        return out.to(wavs.dtype)

    def _recoloured(self, frames, power):
        """``frames [n, samples]`` with ``power [n]`` on the poles' angles."""
        loud = frames.square().sum(1) > FLOOR
        out = frames.clone()
        if not loud.any():
            return out
        frames, power = frames[loud], power[loud]
        before = prediction(frames, self.order)
        after = turned(before, power)
        residual = torch.nn.functional.conv1d(
            torch.nn.functional.pad(frames, (self.order, 0)).unsqueeze(0),
            before.flip(1).unsqueeze(1),
            groups=len(frames),
        )[0]
        out[loud] = coloured(residual, after)
        return out


def prediction(frames, order):
    """Linear prediction by autocorrelation.

    Arguments
    ---------
    frames : torch.Tensor
        ``[n, samples]``, windowed.
    order : int

    Returns
    -------
    torch.Tensor
        ``[n, order + 1]``, the first is 1; all zeros of the polynomial lie
        inside the unit circle.

    Example
    -------
    >>> decay = 0.5 ** torch.arange(60, dtype=torch.float64)
    >>> prediction(decay.unsqueeze(0), 1)
    tensor([[ 1.0000, -0.5000]], dtype=torch.float64)
    """
    size = 1 << (frames.shape[1] + order).bit_length()
    spectrum = torch.fft.rfft(frames, size)
    r = torch.fft.irfft(spectrum.abs().square(), size)[:, : order + 1]
    error = r[:, 0] * (1 + RIDGE) + FLOOR
    a = torch.zeros_like(r)
    a[:, 0] = 1.0
    # Levinson's recursion, all frames at once.
    for k in range(1, order + 1):
        reflection = -(a[:, :k] * r[:, 1 : k + 1].flip(1)).sum(1) / error
        a[:, 1 : k + 1] = a[:, 1 : k + 1] + reflection.unsqueeze(1) * a[
            :, :k
        ].flip(1)
        error = error * (1 - reflection.square())
    return a


def turned(a, power):
    """Raises the angles of a polynomial's complex zeros to a power.

    Arguments
    ---------
    a : torch.Tensor
        Real coefficients, the first 1, ``[n, order + 1]``.
    power : torch.Tensor
        ``[n]``.

    Returns
    -------
    torch.Tensor
        Coefficients of the new polynomials.

    Example
    -------
    >>> a = torch.tensor([[1.0, 0.0, 0.81]], dtype=torch.float64)
    >>> new = turned(a, torch.tensor([0.5], dtype=torch.float64))  # of pi / 2
    >>> [round(x, 4) for x in new[0].tolist()]
    [1.0, -0.5619, 0.81]
    """
    order = a.shape[1] - 1
    companion = torch.zeros(
        len(a), order, order, dtype=a.dtype, device=a.device
    )
    companion[:, 0] = -a[:, 1:]
    below = torch.arange(order - 1, device=a.device)
    companion[:, below + 1, below] = 1.0
    zeros = torch.linalg.eigvals(companion)
    angle = zeros.angle()
    moved = (angle.abs() ** power.unsqueeze(1)).clamp(max=torch.pi)
    angle = torch.where(zeros.imag == 0, angle, moved * angle.sign())
    zeros = torch.polar(zeros.abs(), angle)
    new = torch.zeros(len(a), order + 1, dtype=zeros.dtype, device=a.device)
    new[:, 0] = 1.0
    for k in range(order):
        new[:, 1 : k + 2] = (
            new[:, 1 : k + 2] - zeros[:, k : k + 1] * new[:, : k + 1]
        )
    return new.real


def coloured(residual, a):
    """Filters through one over a polynomial, all rows in step.

    Arguments
    ---------
    residual : torch.Tensor
        ``[n, samples]``.
    a : torch.Tensor
        ``[n, order + 1]``, the first 1.

    Returns
    -------
    torch.Tensor
        ``[n, samples]``.

    Example
    -------
    >>> x = torch.tensor([[1.0, 0.0, 0.0]])
    >>> coloured(x, torch.tensor([[1.0, -0.5]]))
    tensor([[1.0000, 0.5000, 0.2500]])
    """
    order, n_samples = a.shape[1] - 1, residual.shape[1]
    # Samples first: each step reads what lies together.
    past = a[:, 1:].flip(1).t().contiguous()
    y = torch.zeros(
        order + n_samples, len(a), dtype=residual.dtype, device=a.device
    )
    y[order:] = residual.t()
    for n in range(n_samples):
        y[order + n] -= (past * y[n : n + order]).sum(0)
    return y[order:].t()
