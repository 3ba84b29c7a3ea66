"""Spin: the same codes for the same words in another voice.

Source: Chang et al., "Self-supervised fine-tuning for improved content
representations by speaker-invariant clustering", Interspeech 2023; the
assignment of Caron et al., "Unsupervised learning of visual features by
contrasting cluster assignments" (SwAV), NeurIPS 2020.
"""

import torch

from speechbrain_privacy.lobes.objectives import ObjectiveOutput
from speechbrain_privacy.nnet.pooling import frames_mask


class TopLayers(torch.nn.Module):
    """An encoder of which only the last layers learn.

    Arguments
    ---------
    encoder : ConformerLobe
    trained : int, optional
        Layers, counted from the end; None: the front-end, too.

    Example
    -------
    >>> from speechbrain_privacy.lobes.conformer import ConformerLobe
    >>> lobe = ConformerLobe(80, d_model=16, num_layers=3, d_ffn=16)
    >>> net = TopLayers(lobe, 1)
    >>> sorted({n.split(".")[2] for n, p in net.named_parameters()
    ...     if p.requires_grad and ".layers." in n})
    ['layers', 'norm']
    """

    def __init__(self, encoder, trained=None):
        super().__init__()
        self.encoder = encoder
        if trained is None:
            return
        layers = encoder.layers.layers
        if not 1 <= trained <= len(layers):
            raise ValueError(
                f"trained is 1 to {len(layers)} layers, not {trained}"
            )
        for part in (encoder.subsampling, *layers[: len(layers) - trained]):
            part.requires_grad_(False)

    def forward(self, feats, lengths):
        """As the encoder."""
        return self.encoder(feats, lengths)


class Spin(torch.nn.Module):
    """Swapped prediction between an utterance and its perturbed copy.

    Frames of both are assigned to codes, evenly over the batch (Sinkhorn);
    each predicts the assignment of the other. What a voice changes is of no
    use for that.

    Arguments
    ---------
    network : TopLayers
    n_codes : int
    dim : int
        Of the space where frames and codes are compared.
    temperature : float
        Of the predictions.
    epsilon : float
        Of the assignments: lower is harder.
    iterations : int
        Of Sinkhorn's normalisation.

    Example
    -------
    >>> from speechbrain_privacy.lobes.conformer import ConformerLobe
    >>> lobe = ConformerLobe(80, d_model=16, num_layers=1, d_ffn=16)
    >>> objective = Spin(TopLayers(lobe), n_codes=4, dim=8)
    >>> feats, lengths = torch.rand(2, 40, 80), torch.tensor([1.0, 0.5])
    >>> out = objective(feats, lengths, other=feats)
    >>> out.count, out.hidden.shape
    (15, torch.Size([2, 10, 16]))
    """

    #: Clean speech is heard in another voice.
    hears_clean = False

    def __init__(
        self,
        network,
        n_codes=256,
        dim=128,
        temperature=0.1,
        epsilon=0.05,
        iterations=3,
    ):
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations
        self.project = torch.nn.Linear(network.encoder.d_model, dim)
        self.codes = torch.nn.Parameter(torch.randn(n_codes, dim))

    def forward(self, feats, lengths, begins=None, speech=None, other=None):
        """Loss of a batch.

        Arguments
        ---------
        feats : torch.Tensor
            ``[batch, time, channels]``.
        lengths : torch.Tensor
            Relative, ``[batch]``.
        begins, speech : object
            Not used: nothing is hidden.
        other : torch.Tensor
            The same utterances in other voices, frame by frame.

        Returns
        -------
        ObjectiveOutput
            ``count`` frames; ``correct`` of them have most of both
            assignments at one code. ``usage`` is the share of codes in use.
        """
        if other is None or other.shape != feats.shape:
            raise ValueError(
                "Spin needs the same frames in another voice: a perturbation "
                "that keeps the timing"
            )
        hidden, relative = self.network(feats, lengths)
        changed, _ = self.network(other, lengths)
        counts = (relative * hidden.shape[1]).round().long()
        valid = frames_mask(counts, hidden.shape[1])
        codes = torch.nn.functional.normalize(self.codes.float(), dim=1)
        scores, targets = [], []
        for x in (hidden, changed):
            x = self.project(x[valid]).float()
            with torch.autocast(x.device.type, enabled=False):
                score = torch.nn.functional.normalize(x, dim=1) @ codes.t()
            scores.append(score)
            targets.append(
                sinkhorn(score.detach() / self.epsilon, self.iterations)
            )
        loss = 0.0
        for score, target in zip(scores, targets[::-1], strict=True):
            log_probs = (score / self.temperature).log_softmax(1)
            loss = loss - (target * log_probs).sum(1).mean() / 2
        best = [target.argmax(1) for target in targets]
        used = torch.cat(best).unique().numel() / len(codes)
        return ObjectiveOutput(
            loss,
            int(valid.sum()),
            (best[0] == best[1]).float().sum(),
            hidden,
            relative,
            {"usage": torch.tensor(used, device=loss.device)},
        )


@torch.no_grad()
def sinkhorn(scores, iterations=3):
    """Assignments that use all codes alike.

    Arguments
    ---------
    scores : torch.Tensor
        ``[frames, codes]``, over the temperature.
    iterations : int

    Returns
    -------
    torch.Tensor
        ``[frames, codes]``; each row sums to 1, each column to about frames
        / codes.

    Example
    -------
    >>> q = sinkhorn(torch.tensor([[9.0, 8.0], [9.0, 0.0]]), 50)
    >>> q.argmax(1).tolist(), [round(x) for x in q.sum(0).tolist()]
    ([1, 0], [1, 1])
    """
    log = scores
    # In logarithms: small epsilons overflow otherwise.
    for _ in range(iterations):
        log = log - log.logsumexp(0, keepdim=True)
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp()
