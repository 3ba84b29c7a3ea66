"""SpeechBrain's ECAPA-TDNN as an attacker's network."""

import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN


class ECAPA(torch.nn.Module):
    """Frames -> utterance embedding (Desplanques et al., Interspeech 2020).

    Arguments
    ---------
    input_size : int
        Channels of the frames.
    channels : int
        Channels of the blocks; the last layer has three times as many.
    embedding_size : int

    Example
    -------
    >>> net = ECAPA(8, channels=16, embedding_size=4)
    >>> net(torch.rand(2, 30, 8), torch.ones(2, 30, dtype=torch.bool)).shape
    torch.Size([2, 4])
    """

    #: Padding changes what its convolutions see: embed one at a time.
    one_at_a_time = True
    #: Fewer frames are repeated until there are as many.
    shortest = 16

    def __init__(self, input_size, channels=128, embedding_size=96):
        super().__init__()
        self.network = ECAPA_TDNN(
            input_size,
            lin_neurons=embedding_size,
            channels=[channels] * 4 + [3 * channels],
            attention_channels=max(8, channels // 4),
            res2net_scale=4,
            se_channels=max(8, channels // 4),
        )
        self.norm = torch.nn.BatchNorm1d(embedding_size)

    def forward(self, x, mask):
        """Embeds a batch.

        Arguments
        ---------
        x : torch.Tensor
            ``[batch, time, input_size]``.
        mask : torch.Tensor
            Boolean ``[batch, time]``, True on valid frames.

        Returns
        -------
        torch.Tensor
            ``[batch, embedding_size]``.
        """
        if x.shape[1] < self.shortest:
            times = -(-self.shortest // x.shape[1])
            x, mask = x.repeat(1, times, 1), mask.repeat(1, times)
        lengths = mask.sum(1).to(x.dtype) / mask.shape[1]
        return self.norm(self.network(x, lengths).squeeze(1))
