"""wav2vec 2.0: tell what is hidden from other frames of the same utterance.

Source: Baevski et al., "wav2vec 2.0: a framework for self-supervised learning
of speech representations", NeurIPS 2020, section 3. Deviations: the front-end
is patches of a log-mel spectrogram instead of convolutions over the waveform,
the encoder a Conformer, masks are any policy's, and distractors come from the
utterance by construction (another speaker's frames as distractors would make
the speaker worth knowing).
"""

import torch

from speechbrain_privacy.lobes.objectives import ObjectiveOutput
from speechbrain_privacy.nnet.pooling import frame_counts

#: Keeps logarithms of shares finite.
TINY = 1e-7


class GumbelQuantizer(torch.nn.Module):
    """Frames -> one of few vectors, chosen so that gradients pass.

    A code is a choice of one of ``n_codes`` entries in each of ``n_groups``
    codebooks; in training the choice is sampled (Gumbel softmax, straight
    through) at a temperature that falls with every call.

    Source: Jang et al., ICLR 2017; Baevski et al. 2020, equation 1.

    Arguments
    ---------
    input_size : int
        Channels of a frame.
    output_size : int
        Channels of its quantised version, a multiple of ``n_groups``.
    n_codes, n_groups : int
        Of the codebooks.
    temperature : tuple of float
        At the beginning, at the end, and the factor from call to call.

    Example
    -------
    >>> quantizer = GumbelQuantizer(12, 8, n_codes=5)
    >>> vectors, codes, diversity = quantizer(torch.rand(9, 12))
    >>> vectors.shape, codes.shape
    (torch.Size([9, 8]), torch.Size([9]))
    """

    def __init__(
        self,
        input_size,
        output_size=256,
        n_codes=320,
        n_groups=2,
        temperature=(2.0, 0.5, 0.999995),
    ):
        super().__init__()
        if output_size % n_groups:
            raise ValueError(
                f"{n_groups} groups do not divide {output_size} channels"
            )
        self.n_codes = n_codes
        self.n_groups = n_groups
        self.start, self.stop, self.decay = temperature
        if not self.start >= self.stop > 0:
            raise ValueError(
                f"the temperature falls and stays above 0, not {temperature}"
            )
        self.scores = torch.nn.Linear(input_size, n_groups * n_codes)
        torch.nn.init.normal_(self.scores.weight)
        torch.nn.init.zeros_(self.scores.bias)
        self.codebooks = torch.nn.Parameter(
            torch.rand(n_groups, n_codes, output_size // n_groups)
        )
        # In the checkpoint: a resumed training goes on as cool as it was.
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    @property
    def temperature(self):
        """Of the next choice."""
        return (self.start * self.decay**self.calls).clamp(min=self.stop)

    def forward(self, x):
        """Chooses for each frame.

        Arguments
        ---------
        x : torch.Tensor
            ``[frames, input_size]``.

        Returns
        -------
        vectors : torch.Tensor
            ``[frames, output_size]``.
        codes : torch.Tensor
            Which of ``n_codes ** n_groups`` each frame is, ``[frames]``.
        diversity : torch.Tensor
            The loss that keeps all entries in use, from 0 to 1: one less the
            share of entries in use, by perplexity (as in fairseq; the paper's
            equation 4 is the entropy itself).
        """
        scores = self.scores(x).float().unflatten(1, (self.n_groups, -1))
        shares = scores.softmax(2)
        if self.training:
            noise = -torch.empty_like(scores).exponential_().log()
            soft = ((scores + noise) / self.temperature).softmax(2)
            self.calls += 1
            picked = soft.argmax(2)
            hard = torch.nn.functional.one_hot(picked, self.n_codes)
            weights = hard + soft - soft.detach()
            vectors = weights.transpose(0, 1).bmm(self.codebooks.float())
            vectors = vectors.transpose(0, 1).flatten(1)
        else:
            picked = scores.argmax(2)
            groups = torch.arange(self.n_groups, device=x.device)
            vectors = self.codebooks[groups, picked].flatten(1)
        power = self.n_codes ** torch.arange(self.n_groups, device=x.device)
        usage = shares.sum(0) / max(1, len(x))
        entropy = -(usage * (usage + TINY).log()).sum(1)
        diversity = 1 - entropy.exp().sum() / (self.n_groups * self.n_codes)
        return vectors, (picked * power).sum(1), diversity


class Wav2Vec2(torch.nn.Module):
    """Hides frames and tells their quantised versions from distractors.

    Arguments
    ---------
    network : MaskedEncoder
        Whose front-end gives separate frames (``Patches``, ``ConvolvedPatches``).
    quantizer : GumbelQuantizer
        Of the front-end's frames.
    dim : int
        Of the space where both are compared.
    n_negatives : int, optional
        Distractors for each hidden frame, drawn among the other hidden
        frames of its utterance; None: all of them.
    temperature : float
        Of the cosine.
    diversity_weight : float

    Example
    -------
    >>> from speechbrain_privacy.lobes.conformer import ConformerLobe
    >>> from speechbrain_privacy.lobes.objectives import MaskedEncoder
    >>> from speechbrain_privacy.masking.policies import FixedSpans
    >>> lobe = ConformerLobe(
    ...     80, d_model=32, num_layers=1, d_ffn=64, frontend="patches"
    ... )
    >>> objective = Wav2Vec2(
    ...     MaskedEncoder(lobe, FixedSpans(0.5, span=3)),
    ...     GumbelQuantizer(32, 16, n_codes=5),
    ...     dim=16,
    ... )
    >>> out = objective(torch.rand(2, 40, 80), torch.tensor([1.0, 0.5]))
    >>> out.count, out.hidden.shape
    (7, torch.Size([2, 10, 32]))
    """

    def __init__(
        self,
        network,
        quantizer,
        dim=256,
        n_negatives=100,
        temperature=0.1,
        diversity_weight=0.1,
    ):
        super().__init__()
        if not network.encoder.subsampling.separate:
            raise ValueError(
                "wav2vec 2.0 compares with frames of the front-end, which "
                "must not see their neighbours: frontend='patches' "
                "or 'convolved_patches'"
            )
        if n_negatives is not None and n_negatives < 1:
            raise ValueError(f"n_negatives is 1 or more, not {n_negatives}")
        self.network = network
        self.quantizer = quantizer
        self.n_negatives = n_negatives
        self.temperature = temperature
        self.diversity_weight = diversity_weight
        size = quantizer.codebooks.shape[0] * quantizer.codebooks.shape[2]
        self.from_guess = torch.nn.Linear(network.output_size, dim)
        self.from_codes = torch.nn.Linear(size, dim)

    def forward(self, feats, lengths, begins=None, speech=None, clean=None):
        """Loss of a batch.

        Arguments
        ---------
        feats, lengths, begins, speech
            As in ``MaskedEncoder``.
        clean : torch.Tensor, optional
            Features that are told apart, if not those that are heard.

        Returns
        -------
        ObjectiveOutput
            ``count`` leaves out frames that are the only ones hidden in
            their utterance: there is nothing to tell them from.
        """
        out = self.network(feats, lengths, begins, speech)
        at, shared = out.places()
        latents = out.latents
        if clean is not None:
            counts = frame_counts(lengths, clean.shape[1])
            latents, _ = self.network.encoder.subsampling(clean, counts)
        vectors, codes, diversity = self.quantizer(latents[shared])
        sums, count, correct = contrast(
            self.from_guess(out.guess[at]),
            self.from_codes(vectors.to(out.guess.dtype)),
            codes,
            out.mask.sum(1),
            self.temperature,
            self.n_negatives,
        )
        loss = sums / max(1, count) + self.diversity_weight * diversity
        return ObjectiveOutput(
            loss,
            count,
            correct,
            out.hidden,
            out.hidden_lengths,
            {"diversity": diversity.detach()},
        )


def contrast(guesses, targets, codes, counts, temperature, n_negatives=None):
    """How well guesses pick their targets among their own utterance's.

    All similarities inside an utterance are one product of matrices;
    distractors are looked up there, so that none is ever copied.

    Source: Baevski et al. 2020, equation 3. A distractor that is the very
    code of the target is none.

    Arguments
    ---------
    guesses, targets : torch.Tensor
        ``[frames, dim]``, utterance after utterance.
    codes : torch.Tensor
        Of the targets, ``[frames]``.
    counts : torch.Tensor
        Frames of each utterance, ``[utterances]``.
    temperature : float
        Of the cosine.
    n_negatives : int, optional
        Drawn with replacement; None: all others of the utterance.

    Returns
    -------
    loss : torch.Tensor
        Its sum.
    count : int
        Frames of utterances that have others.
    correct : torch.Tensor
        How many of them were nearest to their targets.

    Example
    -------
    >>> x = torch.eye(4)
    >>> two = torch.tensor([2, 2])
    >>> loss, count, correct = contrast(x, x, torch.arange(4), two, 0.1)
    >>> count, float(correct), loss < 0.001
    (4, 4.0, tensor(True))
    """
    most = int(counts.max()) if len(counts) else 0
    places = torch.arange(most, device=counts.device)
    valid = places < counts.unsqueeze(1)
    guesses = torch.nn.functional.normalize(guesses.float(), dim=1)
    targets = torch.nn.functional.normalize(targets.float(), dim=1)
    with torch.autocast(guesses.device.type, enabled=False):
        scores = _rows(guesses, valid) @ _rows(targets, valid).transpose(1, 2)
    scores = scores / temperature
    positive = scores.diagonal(dim1=1, dim2=2)
    own = _rows(codes.unsqueeze(1), valid).squeeze(2)
    if n_negatives is None:
        negative = scores
        usable = valid.unsqueeze(1) & (own.unsqueeze(1) != own.unsqueeze(2))
    else:
        others = (counts - 1).clamp(min=1)[:, None, None]
        draw = torch.rand(len(counts), most, n_negatives, device=counts.device)
        # Any frame but this one.
        index = (draw * others).long().minimum(others - 1)
        index = index + (index >= places[:, None])
        index = index.clamp(max=max(0, most - 1))
        negative = scores.gather(2, index)
        codes_there = own.unsqueeze(1).expand(-1, most, -1).gather(2, index)
        usable = codes_there != own.unsqueeze(2)
    negative = negative.masked_fill(~usable, -torch.inf)
    whole = torch.cat([positive.unsqueeze(2), negative], dim=2)
    loss = whole.logsumexp(2) - positive
    counted = valid & (counts > 1).unsqueeze(1)
    # Where every frame is the same code, nothing has been told apart.
    # Where targets coincide, being as near as another is no success either.
    nearest = (negative < positive.unsqueeze(2)).all(2)
    correct = counted & usable.any(2) & nearest
    return loss[counted].sum(), int(counted.sum()), correct.float().sum()


def _rows(x, valid):
    """Frames of all utterances -> ``[utterances, frames, dim]``."""
    filled = x.new_zeros(*valid.shape, x.shape[1])
    filled[valid] = x
    return filled
