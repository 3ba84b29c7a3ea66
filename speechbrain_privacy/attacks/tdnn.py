"""A time-delay network with attentive statistics, as attackers use it.

After Snyder et al., "X-Vectors", ICASSP 2018 (dilated convolutions over
time) with the pooling of Okabe et al., Interspeech 2018.
"""

import torch

from speechbrain_privacy.nnet.pooling import AttentivePooling


class TDNN(torch.nn.Module):
    """Frames -> utterance embedding.

    Arguments
    ---------
    input_size : int
        Channels of the frames.
    channels : int
        Channels of the convolutions.
    embedding_size : int
    kernel_sizes, dilations : sequence of int
        One convolution each.

    Example
    -------
    >>> net = TDNN(8, channels=16, embedding_size=4)
    >>> net(torch.rand(2, 30, 8), torch.ones(2, 30, dtype=torch.bool)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        input_size,
        channels=128,
        embedding_size=96,
        kernel_sizes=(5, 3, 3),
        dilations=(1, 2, 3),
    ):
        super().__init__()
        self.frames = torch.nn.ModuleList()
        size = input_size
        for kernel, dilation in zip(kernel_sizes, dilations):
            self.frames.append(
                torch.nn.Sequential(
                    torch.nn.Conv1d(
                        size,
                        channels,
                        kernel,
                        dilation=dilation,
                        padding=dilation * (kernel - 1) // 2,
                    ),
                    torch.nn.ReLU(),
                    torch.nn.BatchNorm1d(channels),
                )
            )
            size = channels
        self.pooling = AttentivePooling(size)
        self.embedding = torch.nn.Sequential(
            torch.nn.BatchNorm1d(2 * size),
            torch.nn.Linear(2 * size, embedding_size),
            torch.nn.BatchNorm1d(embedding_size),
        )

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
        x = x.transpose(1, 2)
        padding = ~mask.unsqueeze(1)
        for i, layer in enumerate(self.frames):
            y = layer(x.masked_fill(padding, 0.0))
            x = y if i == 0 else x + y
        return self.embedding(self.pooling(x.transpose(1, 2), mask))
