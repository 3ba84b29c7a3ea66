"""HuBERT: predict the cluster that hidden frames belong to.

Source: Hsu et al., "HuBERT: self-supervised speech representation learning by
masked prediction of hidden units", TASLP 2021. Clusters come with the data:
of cepstra at first, then of the hidden frames of the model before.
"""

import torch

from speechbrain_privacy.lobes.objectives import ObjectiveOutput


class Hubert(torch.nn.Module):
    """Hides frames and predicts their clusters.

    Arguments
    ---------
    network : MaskedEncoder
    n_clusters : int
    dim : int
        Of the space where guesses and clusters are compared.
    temperature : float
        Of the cosine (equation 3).
    visible_weight : float
        Of the loss over frames that are not hidden (1 - alpha in equation
        2); an encoder that sees visible frames alone must leave it at 0.

    Example
    -------
    >>> from speechbrain_privacy.lobes.conformer import ConformerLobe
    >>> from speechbrain_privacy.lobes.objectives import MaskedEncoder
    >>> from speechbrain_privacy.masking.policies import FixedSpans
    >>> lobe = ConformerLobe(80, d_model=32, num_layers=1, d_ffn=64)
    >>> objective = Hubert(MaskedEncoder(lobe, FixedSpans(0.5, span=3)), 7)
    >>> codes = 1 + torch.randint(7, (2, 10))
    >>> out = objective(
    ...     torch.rand(2, 40, 80), torch.tensor([1.0, 0.5]), codes=codes
    ... )
    >>> out.count, out.hidden.shape
    (7, torch.Size([2, 10, 32]))
    """

    #: Clusters were found in clean speech; its features are not asked for.
    hears_clean = False

    def __init__(
        self,
        network,
        n_clusters,
        dim=256,
        temperature=0.1,
        visible_weight=0.0,
    ):
        super().__init__()
        if not 0.0 <= visible_weight <= 1.0:
            raise ValueError(
                f"visible_weight lies in [0, 1], not {visible_weight}"
            )
        if visible_weight and network.decoder is not None:
            raise ValueError(
                "an encoder of visible frames alone predicts hidden ones: "
                "visible_weight must be 0"
            )
        self.network = network
        self.n_clusters = n_clusters
        self.temperature = temperature
        self.visible_weight = visible_weight
        self.project = torch.nn.Linear(network.output_size, dim)
        self.clusters = torch.nn.Parameter(torch.randn(n_clusters, dim))

    def forward(
        self,
        feats,
        lengths,
        begins=None,
        speech=None,
        codes=None,
        clean=None,
    ):
        """Loss of a batch.

        Arguments
        ---------
        feats, lengths, begins, speech
            As in ``MaskedEncoder``.
        codes : torch.Tensor
            Cluster of each encoder frame plus one, ``[batch, frames]``; no
            loss where it is 0.
        clean : torch.Tensor, optional
            Not needed: clusters were found in clean speech.

        Returns
        -------
        ObjectiveOutput
            The loss is 0, with a graph, where no frame is hidden.
        """
        if codes is None:
            raise ValueError("HuBERT needs the cluster of each frame: codes")
        del clean
        out = self.network(feats, lengths, begins, speech)
        missing = out.mask.shape[1] - codes.shape[1]
        if abs(missing) > 1:
            raise ValueError(
                f"{codes.shape[1]} codes for {out.mask.shape[1]} frames: they "
                "were made for another encoder or other audio"
            )
        # One more or less: lengths round. Nobody knows its code.
        codes = torch.nn.functional.pad(codes, (0, missing))
        if self.network.masks > 1:
            codes = codes.repeat_interleave(self.network.masks, dim=0)
        loss, count, correct = self._predict(out.guess, codes, out.mask)
        if self.visible_weight:
            places = torch.arange(out.mask.shape[1], device=codes.device)
            seen = (places < out.counts.unsqueeze(1)) & ~out.mask
            visible, _, _ = self._predict(out.guess, codes, seen)
            share = self.visible_weight
            loss = (1 - share) * loss + share * visible
        return ObjectiveOutput(
            loss, count, correct, out.hidden, out.hidden_lengths
        )

    def _predict(self, guess, codes, at):
        """Mean loss, frames, and how many of them are right, where ``at``."""
        normalized = torch.nn.functional.normalize
        at = at & (codes > 0)
        guess = normalized(self.project(guess[at]).float(), dim=1)
        with torch.autocast(guess.device.type, enabled=False):
            logits = guess @ normalized(self.clusters.float(), dim=1).t()
        codes = codes[at] - 1
        count = len(codes)
        loss = torch.nn.functional.cross_entropy(
            logits / self.temperature, codes, reduction="sum"
        ) / max(1, count)
        correct = (logits.detach().argmax(1) == codes).float().sum()
        return loss, count, correct
