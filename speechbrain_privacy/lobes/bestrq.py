"""BEST-RQ: predict the random codes of what is hidden.

Source: Chiu et al., "Self-supervised learning with random-projection
quantizer for speech recognition", ICML 2022.
"""

import torch

from speechbrain_privacy.lobes.frontends import patched
from speechbrain_privacy.lobes.objectives import ObjectiveOutput
from speechbrain_privacy.nnet.pooling import frame_counts, frames_mask


class RandomProjectionQuantizer(torch.nn.Module):
    """Frames -> codes, by a projection and a codebook that never learn.

    The code is the nearest of the normalised code vectors to the normalised
    projection, found as the largest product.

    Arguments
    ---------
    input_size : int
        Channels of a frame.
    n_codes, code_size : int
        Of the codebook.
    n_books : int
        Codebooks, each with a projection of its own.

    Example
    -------
    >>> quantizer = RandomProjectionQuantizer(320, n_codes=64)
    >>> quantizer(torch.rand(2, 9, 320)).shape
    torch.Size([2, 9, 1])
    """

    def __init__(self, input_size, n_codes=8192, code_size=16, n_books=1):
        super().__init__()
        self.n_codes = n_codes
        self.n_books = n_books
        projection = torch.empty(n_books, input_size, code_size)
        for book in projection:
            torch.nn.init.xavier_uniform_(book)
        codes = torch.randn(n_books, n_codes, code_size)
        codes = torch.nn.functional.normalize(codes, dim=2)
        self.register_buffer("projection", projection)
        self.register_buffer("codes", codes.transpose(1, 2).contiguous())

    @torch.no_grad()
    def forward(self, x):
        """``x [batch, frames, input_size]`` -> codes ``[batch, frames, n_books]``.

        The length of a projection decides nothing: of unit code vectors the
        nearest to its direction has the largest product with it.
        """
        if x.shape[2] != self.projection.shape[1]:
            raise ValueError(
                f"frames have {x.shape[2]} channels, the quantizer takes "
                f"{self.projection.shape[1]}: n_mels * stride"
            )
        flat = x.flatten(0, 1).float()
        with torch.autocast(x.device.type, enabled=False):
            products = flat @ self.projection @ self.codes
        return products.argmax(2).t().unflatten(0, x.shape[:2])


class BestRQ(torch.nn.Module):
    """Hides frames and predicts their codes.

    Arguments
    ---------
    network : MaskedEncoder
    quantizer : RandomProjectionQuantizer
        Of ``stride`` stacked feature frames.

    Example
    -------
    >>> from speechbrain_privacy.lobes.conformer import ConformerLobe
    >>> from speechbrain_privacy.lobes.objectives import MaskedEncoder
    >>> from speechbrain_privacy.masking.policies import FixedSpans
    >>> lobe = ConformerLobe(80, d_model=32, num_layers=1, d_ffn=64)
    >>> objective = BestRQ(
    ...     MaskedEncoder(lobe, FixedSpans(0.5, span=3)),
    ...     RandomProjectionQuantizer(320, n_codes=64),
    ... )
    >>> out = objective(torch.rand(2, 40, 80), torch.tensor([1.0, 0.5]))
    >>> out.count, out.loss > 3, out.hidden.shape
    (7, tensor(True), torch.Size([2, 10, 32]))
    """

    def __init__(self, network, quantizer):
        super().__init__()
        self.network = network
        self.quantizer = quantizer
        self.head = torch.nn.Linear(
            network.output_size, quantizer.n_books * quantizer.n_codes
        )

    def forward(self, feats, lengths, begins=None, speech=None, clean=None):
        """Loss of a batch.

        Arguments
        ---------
        feats, lengths, begins, speech
            As in ``MaskedEncoder``.
        clean : torch.Tensor, optional
            Features whose codes are predicted, if not those that are heard.

        Returns
        -------
        ObjectiveOutput
            The loss is 0, with a graph, where no frame is hidden. ``usage``
            is how many codes occur in the batch, of as many as its hidden
            frames could have: few do where features are not normalised.
        """
        out = self.network(feats, lengths, begins, speech)
        # A code says nothing of what an utterance was padded with.
        counts = frame_counts(lengths, feats.shape[1])
        padding = ~frames_mask(counts, feats.shape[1]).unsqueeze(2)
        told = feats if clean is None else clean
        told = told.masked_fill(padding, 0.0)
        stacked = patched(told, self.network.encoder.stride)
        at, shared = out.places()
        # Codes of hidden frames alone: others are not asked for.
        codes = self.quantizer(stacked[shared].unsqueeze(0))[0]
        logits = self.head(out.guess[at]).float()
        logits = logits.unflatten(1, (self.quantizer.n_books, -1))
        count = len(codes)
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), codes.flatten(), reduction="sum"
        ) / max(1, codes.numel())
        correct = (logits.detach().argmax(2) == codes).float().mean(1).sum()
        return ObjectiveOutput(
            loss,
            count,
            correct,
            out.hidden,
            out.hidden_lengths,
            {"usage": self._usage(codes)},
        )

    def _usage(self, codes):
        """How many codes occur among ``[frames, books]``, of those that can."""
        books, n_codes = self.quantizer.n_books, self.quantizer.n_codes
        used = torch.zeros(books * n_codes, device=codes.device)
        offsets = n_codes * torch.arange(books, device=codes.device)
        used.index_fill_(0, (codes + offsets).flatten(), 1.0)
        return used.sum() / (books * max(1, min(n_codes, len(codes))))
