"""Multitask pretext prediction: spectra, cepstra, and what the voice does.

Source: Zaiem et al., "Pretext tasks selection for multitask self-supervised
audio representation learning", JSTSP 2022: reconstruction and weighted
descriptors. Here of hidden frames, so that copying is no answer.
"""

import torch
import torchaudio

from speechbrain_privacy.lobes.descriptors import standardised
from speechbrain_privacy.lobes.frontends import patched
from speechbrain_privacy.lobes.objectives import ObjectiveOutput
from speechbrain_privacy.nnet.pooling import frame_counts, frames_mask


class Multitask(torch.nn.Module):
    """Hides frames and predicts what they were like.

    Arguments
    ---------
    network : MaskedEncoder
    n_mels : int
        Channels of the features.
    weights : dict
        Descriptor -> weight of its loss, in the order of the targets; those
        of weight 0 are left out, and are no targets.
    mel_weight, mfcc_weight : float
        Of both reconstructions.
    n_mfcc : int

    Example
    -------
    >>> from speechbrain_privacy.lobes.conformer import ConformerLobe
    >>> from speechbrain_privacy.lobes.objectives import MaskedEncoder
    >>> from speechbrain_privacy.masking.policies import FixedSpans
    >>> lobe = ConformerLobe(80, d_model=32, num_layers=1, d_ffn=64)
    >>> net = MaskedEncoder(lobe, FixedSpans(0.5, span=3))
    >>> objective = Multitask(net, 80, {"f0": 0.7, "rms": 0.3})
    >>> out = objective(
    ...     torch.rand(2, 40, 80),
    ...     torch.tensor([1.0, 0.5]),
    ...     targets=torch.rand(2, 40, 2),
    ... )
    >>> out.count, sorted(out.measures)
    (7, ['f0', 'mel', 'mfcc', 'rms'])
    """

    def __init__(
        self,
        network,
        n_mels,
        weights,
        mel_weight=1.0,
        mfcc_weight=1.0,
        n_mfcc=13,
    ):
        super().__init__()
        if min([mel_weight, mfcc_weight, *weights.values()]) < 0:
            raise ValueError("weights of tasks are not negative")
        self.network = network
        self.weights = {name: w for name, w in weights.items() if w > 0}
        self.mel_weight, self.mfcc_weight = mel_weight, mfcc_weight
        stride, size = network.encoder.stride, network.output_size
        self.to_mel = torch.nn.Linear(size, stride * n_mels)
        self.to_mfcc = torch.nn.Linear(size, n_mfcc)
        self.to_descriptors = torch.nn.Linear(size, len(self.weights))
        dct = torchaudio.functional.create_dct(n_mfcc, n_mels, "ortho")
        self.register_buffer("dct", dct)

    def forward(
        self,
        feats,
        lengths,
        begins=None,
        speech=None,
        targets=None,
        clean=None,
    ):
        """Loss of a batch.

        Arguments
        ---------
        feats, lengths, begins, speech
            As in ``MaskedEncoder``.
        targets : torch.Tensor
            Descriptors, ``[batch, time, descriptors]``, as often as features.
        clean : torch.Tensor, optional
            Features that are predicted, if not those that are heard.

        Returns
        -------
        ObjectiveOutput
            The loss is a weighted sum of mean absolute errors, each of them
            under its task's name in ``measures``; nothing is counted as
            correct. It is 0, with a graph, where no frame is hidden.
        """
        if targets is None or targets.shape[2] != len(self.weights):
            raise ValueError(
                f"descriptors of {', '.join(self.weights)} are the targets"
            )
        if abs(targets.shape[1] - feats.shape[1]) > 1:
            raise ValueError(
                f"{targets.shape[1]} frames of descriptors beside "
                f"{feats.shape[1]} of features"
            )
        out = self.network(feats, lengths, begins, speech)
        counts = frame_counts(lengths, feats.shape[1])
        padding = ~frames_mask(counts, feats.shape[1]).unsqueeze(2)
        feats = (feats if clean is None else clean).masked_fill(padding, 0.0)
        missing = feats.shape[1] - targets.shape[1]
        targets = torch.nn.functional.pad(targets, (0, 0, 0, max(0, missing)))
        targets = standardised(targets[:, : feats.shape[1]], counts)
        at, shared = out.places()
        stride = self.network.encoder.stride
        # Of a last frame that is not full, what there is.
        there = patched((~padding).float(), stride).sum(2).clamp(min=1)

        def mean_of(x):
            summed = patched(x, stride).unflatten(2, (stride, -1)).sum(2)
            return (summed / there.unsqueeze(2))[shared]

        guess = out.guess[at]
        gaps = {
            "mel": self.to_mel(guess) - patched(feats, stride)[shared],
            "mfcc": self.to_mfcc(guess) - mean_of(feats @ self.dct),
        }
        apart = self.to_descriptors(guess) - mean_of(targets)
        gaps |= dict(zip(self.weights, apart.T, strict=True))
        errors = {
            name: gap.float().abs().sum() / max(1, gap.numel())
            for name, gap in gaps.items()
        }
        weights = {
            "mel": self.mel_weight,
            "mfcc": self.mfcc_weight,
            **self.weights,
        }
        return ObjectiveOutput(
            sum(weights[name] * error for name, error in errors.items()),
            len(guess),
            torch.zeros((), device=guess.device),
            out.hidden,
            out.hidden_lengths,
            {name: error.detach() for name, error in errors.items()},
        )
