"""One adversary: an attacker that reads an attribute off hidden frames.

Many of them together, behind gradient reversal, are ``nnet.adversaries``.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from speechbrain_privacy.nnet.pooling import (
    frame_counts,
    frames_mask,
    make_pooling,
)

UNKNOWN = -1
OBJECTIVES = ("classify", "aam", "pairs")


@dataclass
class MemberOutput:
    """What one adversary made of a batch.

    ``loss`` is the mean over the ``count`` labelled items (0 where none is
    labelled); ``correct`` of them were recognised (``None`` for ``pairs``
    members, which have no classes).
    """

    loss: torch.Tensor
    correct: torch.Tensor | None
    count: torch.Tensor


def segments(x, counts, n_frames, starts=None):
    """Cuts one segment of ``n_frames`` out of every utterance.

    Arguments
    ---------
    x : torch.Tensor
        ``[batch, time, dim]``.
    counts : torch.Tensor
        Valid frames of each utterance, ``[batch]``.
    n_frames : int
        Length of a segment; a shorter utterance is kept whole and masked.
    starts : torch.Tensor, optional
        First frames, ``[batch]``; drawn uniformly when missing.

    Returns
    -------
    segment : torch.Tensor
        ``[batch, min(n_frames, time), dim]``.
    mask : torch.Tensor
        Boolean, the valid frames of each segment.

    Example
    -------
    >>> x = torch.arange(6.0).reshape(1, 6, 1)
    >>> cut, mask = segments(x, torch.tensor([6]), 2, torch.tensor([3]))
    >>> cut.flatten().tolist()
    [3.0, 4.0]
    """
    n_frames = min(n_frames, x.shape[1])
    if starts is None:
        room = (counts - n_frames).clamp(min=0) + 1
        starts = (torch.rand(len(x), device=x.device) * room).long()
    index = starts.unsqueeze(1) + torch.arange(n_frames, device=x.device)
    mask = index < counts.unsqueeze(1)
    index = index.clamp(max=x.shape[1] - 1)
    rows = torch.arange(len(x), device=x.device).unsqueeze(1)
    return x[rows, index], mask


def with_margin(cos, targets, margin):
    """Additive angular margin: cos(theta) -> cos(theta + margin) on targets.

    Source: Deng et al., "ArcFace", CVPR 2019, eq. 3.

    Arguments
    ---------
    cos : torch.Tensor
        Cosines to every class, ``[batch, classes]``.
    targets : torch.Tensor
        Classes ``[batch]``; a negative one changes nothing.
    margin : float
        In radians.

    Returns
    -------
    torch.Tensor
        As ``cos``.

    Example
    -------
    >>> with_margin(torch.zeros(1, 2), torch.tensor([1]), 0.5)
    tensor([[ 0.0000, -0.4794]])
    """
    # Away from one, where the angle has no finite gradient.
    angle = torch.acos(cos.clamp(-1 + 1e-6, 1 - 1e-6))
    classes = torch.arange(cos.shape[1], device=cos.device)
    target = classes == targets.unsqueeze(1)
    return torch.where(target, torch.cos(angle + margin), cos)


class Spliced(torch.nn.Module):
    """A linear layer over a frame and its neighbours, then a ReLU.

    The same map as a convolution over time with zero padding, as one matrix
    product: at the sizes of an adversary that is several times faster on a
    CPU, and the time axis stays second.

    Arguments
    ---------
    input_size, output_size : int
    width : int
        Frames that are seen, odd.
    dilation : int
        Distance between them.

    Example
    -------
    >>> Spliced(4, 8, width=3)(torch.rand(2, 10, 4)).shape
    torch.Size([2, 10, 8])
    """

    def __init__(self, input_size, output_size, width=3, dilation=1):
        super().__init__()
        if width % 2 == 0:
            raise ValueError(f"the width of a layer is odd, got {width}")
        self.width = width
        self.dilation = dilation
        self.linear = torch.nn.Linear(width * input_size, output_size)

    def forward(self, x):
        """``x [batch, time, input]`` -> ``[batch, time, output]``."""
        n_frames, reach = x.shape[1], self.dilation * (self.width // 2)
        x = F.pad(x, (0, 0, reach, reach))
        views = [
            x[:, i * self.dilation : i * self.dilation + n_frames]
            for i in range(self.width)
        ]
        return torch.relu(self.linear(torch.cat(views, dim=2)))


class Adversary(torch.nn.Module):
    """One attacker: frame layers, pooling, classifier.

    Arguments
    ---------
    input_size : int
        Channels of the representation under attack.
    attribute : str
        Which label it reads (the manifest's column).
    n_classes : int, optional
        Classes of a ``classify`` or ``aam`` member. May be given later with
        ``set_classes`` when the data tell it. Not used by ``pairs``.
    objective : str
        ``classify``: cross-entropy. ``aam``: additive angular margin (Deng
        et al., "ArcFace", CVPR 2019, eq. 3). ``pairs``: verification, two
        segments of every utterance, same class together and others apart
        (Khosla et al., "Supervised Contrastive Learning", 2020, eq. 2).
    level : str
        ``utterance`` (pools over time) or ``frame`` (one decision a frame;
        ``classify`` only).
    pooling : str
        ``mean``, ``max``, ``stats`` or ``attentive``.
    channels : list of int
        Output channels of the convolutions over time; may be empty.
    kernel_size : int
        Their width in frames.
    dilation : int
        Dilation of layer i is ``dilation ** i``.
    hidden : list of int
        Fully connected layers between pooling and output.
    segment : int, optional
        Train on random segments of so many frames. Default: everything.
    weight : float
        Share of this member among those of its attribute.
    margin, scale : float
        Of ``aam``; ``scale`` is also the inverse temperature of ``pairs``.

    Example
    -------
    >>> adversary = Adversary(16, n_classes=4, channels=[8], hidden=[8])
    >>> out = adversary(
    ...     torch.rand(3, 20, 16), torch.ones(3), torch.tensor([0, 3, -1])
    ... )
    >>> out.count.item()
    2
    """

    def __init__(
        self,
        input_size,
        attribute="spk_id",
        n_classes=None,
        objective="classify",
        level="utterance",
        pooling="stats",
        channels=(),
        kernel_size=3,
        dilation=1,
        hidden=(64,),
        segment=None,
        weight=1.0,
        margin=0.2,
        scale=20.0,
    ):
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(
                f"objective is one of {', '.join(OBJECTIVES)}; "
                f"got '{objective}'"
            )
        if level not in ("utterance", "frame"):
            raise ValueError(f"level is 'utterance' or 'frame'; got '{level}'")
        if level == "frame" and objective != "classify":
            raise ValueError(f"a frame-level member cannot use '{objective}'")
        if weight < 0:
            raise ValueError(f"a member's weight is >= 0, got {weight}")
        self.attribute = attribute
        self.objective = objective
        self.level = level
        self.segment = segment
        self.weight = weight
        self.margin = margin
        self.scale = scale

        frames = []
        size = input_size
        for i, n in enumerate(channels):
            frames.append(Spliced(size, n, kernel_size, dilation**i))
            size = n
        self.frames = torch.nn.ModuleList(frames)
        self.pooling = None
        if level == "utterance":
            self.pooling = make_pooling(pooling, size)
            size = self.pooling.output_size(size)
        layers = []
        for n in hidden:
            layers += [
                torch.nn.LayerNorm(size),
                torch.nn.Linear(size, n),
                torch.nn.ReLU(),
            ]
            size = n
        self.hidden = torch.nn.Sequential(*layers)
        self.embedding_size = size
        self.output = None
        if n_classes is not None:
            self.set_classes(n_classes)

    @property
    def closed_set(self):
        """Whether this member has classes (``pairs`` members have none)."""
        return self.objective != "pairs"

    def set_classes(self, n_classes):
        """Makes the output layer for ``n_classes`` classes."""
        if not self.closed_set:
            return
        if n_classes < 2:
            raise ValueError(
                f"an adversary on '{self.attribute}' needs at least two "
                f"classes in the training data, got {n_classes}"
            )
        self.output = torch.nn.Linear(
            self.embedding_size, n_classes, bias=self.objective != "aam"
        )

    def reset_parameters(self):
        """Draws every weight anew, as at construction."""
        for module in self.modules():
            if module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def embed(self, x, mask):
        """Frames -> embeddings.

        Arguments
        ---------
        x : torch.Tensor
            ``[batch, time, input_size]``.
        mask : torch.Tensor
            Boolean ``[batch, time]``, True on valid frames.

        Returns
        -------
        torch.Tensor
            ``[batch, embedding]``, or ``[batch, time, embedding]`` at frame
            level.
        """
        padding = ~mask.unsqueeze(2)
        for layer in self.frames:
            # Padding is silenced before each layer: an utterance gives the
            # same embedding alone and in a padded batch.
            x = layer(x.masked_fill(padding, 0.0))
        if self.pooling is not None:
            x = self.pooling(x, mask)
        return self.hidden(x)

    def forward(self, x, lengths, labels):
        """Attacks a batch.

        Arguments
        ---------
        x : torch.Tensor
            Representation, ``[batch, time, input_size]``.
        lengths : torch.Tensor
            Relative lengths, ``[batch]``.
        labels : torch.Tensor
            Classes ``[batch]``; negative where unknown (left out).

        Returns
        -------
        MemberOutput
        """
        if self.closed_set and self.output is None:
            raise RuntimeError(
                f"the adversary on '{self.attribute}' does not know its "
                "number of classes: give n_classes or call set_classes"
            )
        if labels.dim() == 2:  # as SpeechBrain's encoders give them
            labels = labels.squeeze(1)
        if x.dim() != 3 or not x.shape[:1] == lengths.shape == labels.shape:
            raise ValueError(
                "an adversary takes [batch, time, dim], [batch] lengths and "
                f"[batch] labels; got {list(x.shape)}, {list(lengths.shape)}, "
                f"{list(labels.shape)}"
            )
        counts = frame_counts(lengths, x.shape[1])
        if self.objective == "pairs":
            return self._pairs(x, counts, labels)
        if self.segment is not None and self.training:
            x, mask = segments(x, counts, self.segment)
        else:
            mask = frames_mask(counts, x.shape[1])
        embedding = self.embed(x, mask).float()
        # In float32 even under autocast: a cosine of one, rounded to
        # bfloat16, has no finite angle.
        with torch.autocast(x.device.type, enabled=False):
            return self._decide(embedding, mask, labels)

    def _decide(self, embedding, mask, labels):
        known = labels >= 0
        if self.level == "frame":
            return self._framewise(embedding, mask, labels, known)
        logits = self._logits(embedding)
        loss = F.cross_entropy(
            self._with_margin(logits, labels),
            labels.masked_fill(~known, UNKNOWN),
            ignore_index=UNKNOWN,
            reduction="sum",
        )
        count = known.sum()
        correct = ((logits.argmax(1) == labels) & known).sum()
        return MemberOutput(loss / count.clamp(min=1), correct, count)

    def _logits(self, embedding):
        if self.objective == "aam":
            return self.scale * F.linear(
                F.normalize(embedding, dim=-1),
                F.normalize(self.output.weight, dim=-1),
            )
        return self.output(embedding)

    def _with_margin(self, logits, labels):
        """For ``aam``: cos(theta) -> cos(theta + margin) on the target."""
        if self.objective != "aam":
            return logits
        return self.scale * with_margin(
            logits / self.scale, labels, self.margin
        )

    def _framewise(self, embedding, mask, labels, known):
        logits = self.output(embedding)
        valid = mask & known.unsqueeze(1)
        targets = labels.unsqueeze(1).expand_as(mask)
        loss = F.cross_entropy(
            logits.transpose(1, 2),
            targets.masked_fill(~valid, UNKNOWN),
            ignore_index=UNKNOWN,
            reduction="sum",
        ) / valid.sum().clamp(min=1)
        # One decision per utterance: the sum of its frames' log-posteriors.
        votes = (logits.log_softmax(2) * mask.unsqueeze(2)).sum(1).argmax(1)
        return MemberOutput(
            loss, ((votes == labels) & known).sum(), known.sum()
        )

    def _pairs(self, x, counts, labels):
        n_frames = self.segment or max(1, x.shape[1] // 2)
        if self.training:
            starts = (None, None)
        else:  # the two ends of each utterance
            starts = (
                torch.zeros_like(counts),
                (counts - n_frames).clamp(min=0),
            )
        views = [
            self.embed(*segments(x, counts, n_frames, start))
            for start in starts
        ]
        with torch.autocast(x.device.type, enabled=False):
            return self._contrast(torch.cat(views).float(), labels.repeat(2))

    def _contrast(self, embedding, labels):
        z = F.normalize(embedding, dim=1)
        known = labels >= 0
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        usable = known.unsqueeze(0) & known.unsqueeze(1) & ~itself
        same = (labels.unsqueeze(0) == labels.unsqueeze(1)) & usable
        scores = (self.scale * z @ z.T).masked_fill(~usable, -1e4)
        log_prob = scores - scores.logsumexp(1, keepdim=True)
        per_item = -(log_prob * same).sum(1) / same.sum(1).clamp(min=1)
        count = known.sum()
        loss = (per_item * known).sum() / count.clamp(min=1)
        return MemberOutput(loss, None, count // 2)
