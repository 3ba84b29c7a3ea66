"""Next frames told from distractors: what a boundary detector learns by.

Source: Kreuk et al., Interspeech 2020, equations 1 and 2.
"""

import torch

from speechbrain_privacy.lobes.objectives import ObjectiveOutput
from speechbrain_privacy.nnet.pooling import frame_counts, frames_mask


class NextFrame(torch.nn.Module):
    """Tells the next frame from others of the same utterance.

    Arguments
    ---------
    encoder : masking.learnt.FrameEncoder
    n_distractors : int
        For each frame, drawn from its utterance (the frame itself and the
        next one may be among them, as any other).
    ahead : int
        Frames from one to what counts as the next: windows of cepstra
        overlap, and the very next frame is alike for that reason alone.
    temperature : float
        Of the cosine.

    Example
    -------
    >>> from speechbrain_privacy.masking.learnt import FrameEncoder
    >>> objective = NextFrame(FrameEncoder())
    >>> out = objective(torch.rand(2, 40, 13), torch.tensor([1.0, 0.5]))
    >>> out.count, out.hidden.shape
    (56, torch.Size([2, 40, 32]))
    """

    def __init__(self, encoder, n_distractors=1, temperature=1.0, ahead=2):
        super().__init__()
        if min(n_distractors, ahead) < 1 or not temperature > 0:
            raise ValueError(
                "n_distractors and ahead are 1 or more and temperature above "
                f"0, not {n_distractors}, {ahead} and {temperature}"
            )
        #: Where a pre-training looks for what it trains.
        self.network = torch.nn.ModuleDict({"encoder": encoder})
        self.n_distractors = n_distractors
        self.temperature = temperature
        self.ahead = ahead

    def forward(self, feats, lengths, begins=None, speech=None, clean=None):
        """Loss of a batch.

        Arguments
        ---------
        feats : torch.Tensor
            Cepstra, ``[batch, frames, channels]``.
        lengths : torch.Tensor
            Relative, ``[batch]``.
        begins, speech, clean
            Not needed: nothing is hidden.

        Returns
        -------
        ObjectiveOutput
            ``count`` frames have a next one; the loss is 0, with a graph,
            where there are none.
        """
        del begins, speech, clean
        hidden, lengths = self.network["encoder"](feats, lengths)
        counts = frame_counts(lengths, hidden.shape[1])
        has_next = (counts - self.ahead).clamp(min=0)
        has_next = frames_mask(has_next, hidden.shape[1])
        row, at = has_next.nonzero(as_tuple=True)
        drawn = torch.rand((len(row), self.n_distractors), device=hidden.device)
        others = (drawn * counts[row].unsqueeze(1)).long()
        there = torch.cat([(at + self.ahead).unsqueeze(1), others], dim=1)
        logits = torch.einsum(
            "ij,ikj->ik", hidden[row, at], hidden[row.unsqueeze(1), there]
        )
        count = len(row)
        loss = torch.nn.functional.cross_entropy(
            logits / self.temperature,
            torch.zeros(count, dtype=torch.long, device=hidden.device),
            reduction="sum",
        ) / max(1, count)
        # What is as near as the next frame is not told from it.
        correct = (logits[:, :1] > logits[:, 1:]).all(1).float().sum()
        return ObjectiveOutput(loss, count, correct, hidden, lengths)
