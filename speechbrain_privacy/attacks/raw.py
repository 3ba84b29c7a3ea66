"""A network that hears the waveform itself, as attackers use it.

After Zeghidour et al., "LEAF: a learnable frontend for audio
classification", ICLR 2021: complex Gabor filters, here at the frame rate,
whose energies a time-delay network reads. What features throw away, it keeps.
"""

import torch
from speechbrain.nnet.CNN import GaborConv1d

from speechbrain_privacy.attacks.tdnn import TDNN


class RawTDNN(torch.nn.Module):
    """Samples -> utterance embedding.

    Arguments
    ---------
    input_size : int
        1, the channels of a waveform.
    filters : int
        Gabor filters, at first on the mel scale.
    stride, kernel_size : int
        In samples; 10 and 25 ms at 16 kHz.
    sample_rate : int
        In Hz.
    **tdnn
        Settings of ``TDNN``.

    Example
    -------
    >>> net = RawTDNN(1, filters=8, channels=16, embedding_size=4)
    >>> x = torch.rand(2, 4000, 1)
    >>> net(x, torch.ones(2, 4000, dtype=torch.bool)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        input_size=1,
        filters=60,
        stride=160,
        kernel_size=401,
        sample_rate=16000,
        **tdnn,
    ):
        super().__init__()
        if input_size != 1:
            raise ValueError(
                f"a waveform has one channel, not {input_size}: a raw-signal "
                "attacker needs a tap without a module"
            )
        self.stride = stride
        self.filters = GaborConv1d(
            2 * filters,
            kernel_size,
            stride,
            in_channels=1,
            sample_rate=sample_rate,
        )
        self.norm = torch.nn.BatchNorm1d(filters)
        self.tdnn = TDNN(filters, **tdnn)

    def forward(self, x, mask):
        """Embeds a batch.

        Arguments
        ---------
        x : torch.Tensor
            ``[batch, samples, 1]``.
        mask : torch.Tensor
            Boolean ``[batch, samples]``, True on valid samples.

        Returns
        -------
        torch.Tensor
            ``[batch, embedding_size]``.
        """
        waves = self.filters(x.masked_fill(~mask.unsqueeze(2), 0.0))
        # A pair of filters a quarter of a period apart: their energy.
        energy = waves.unflatten(2, (-1, 2)).square().sum(3)
        frames = self.norm(torch.log(energy + 1e-5).transpose(1, 2))
        valid = mask[:, :: self.stride][:, : frames.shape[2]]
        return self.tdnn(frames.transpose(1, 2), valid)
