"""A network attacker: trained from scratch on frozen representations.

It never sees a test speaker. What it learnt is recorded: an attacker that
does not learn its own training speakers says nothing about privacy.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from speechbrain_privacy.nnet.adversary import with_margin
from speechbrain_privacy.nnet.pooling import frames_mask

#: Fewer training steps than this are a mistake, not an attack.
MIN_STEPS = 10


@dataclass
class LearningCurve:
    """Per epoch: training loss and training accuracy (closed set)."""

    loss: list = field(default_factory=list)
    accuracy: list = field(default_factory=list)


class NetworkAttacker:
    """Learns a label of whole utterances, closed set; then embeds others.

    Arguments
    ---------
    network : callable
        ``f(input_size=...) -> module`` with ``[batch, time, dim]`` and a
        boolean mask ``[batch, time]`` -> ``[batch, embedding]``.
    epochs : int
        Passes over the training utterances.
    crops : int
        Random segments of every utterance in a pass.
    batch_size : int
        Segments a step.
    segment : float
        Their length in seconds.
    lr : float
        Peak learning rate of AdamW (one-cycle).
    margin, scale : float
        Of the additive angular margin; margin 0 is a cosine softmax.
    balanced : bool
        Draw every class equally often (for attributes that are skewed).

    Example
    -------
    >>> from functools import partial
    >>> from speechbrain_privacy.attacks.tdnn import TDNN
    >>> from speechbrain_privacy.audit.representations import Representations
    >>> rng = np.random.default_rng(0)
    >>> data = Representations.of(
    ...     {i: rng.normal(i % 2, 1, (30, 4)) for i in range(20)}
    ... )
    >>> attacker = NetworkAttacker(
    ...     partial(TDNN, channels=8, embedding_size=4),
    ...     epochs=5,
    ...     batch_size=16,
    ...     segment=0.2,
    ... )
    >>> curve = attacker.fit(
    ...     data, [i % 2 for i in range(20)], frames_per_second=100, seed=0
    ... )
    >>> attacker.embed(data).shape
    (20, 4)
    """

    def __init__(
        self,
        network,
        epochs=30,
        crops=2,
        batch_size=64,
        segment=1.5,
        lr=2e-3,
        margin=0.2,
        scale=20.0,
        balanced=False,
    ):
        self.network_class = network
        self.epochs = epochs
        self.crops = crops
        self.batch_size = batch_size
        self.segment = segment
        self.lr = lr
        self.margin = margin
        self.scale = scale
        self.balanced = balanced

    def check(self, n_utterances):
        """How many steps it would take; refuses so few that it learns nothing.

        Arguments
        ---------
        n_utterances : int
            That it learns on.

        Returns
        -------
        int
        """
        in_pass = n_utterances * self.crops // self.batch_size
        n_steps = self.epochs * max(1, in_pass)
        if n_steps < MIN_STEPS:
            raise ValueError(
                f"an attacker that takes {n_steps} steps learns nothing: give "
                "it more epochs or crops, or a smaller batch_size"
            )
        return n_steps

    def fit(
        self,
        data,
        labels,
        frames_per_second,
        seed=0,
        device="cpu",
        progressbar=False,
        name="attacker",
    ):
        """Trains from scratch.

        Arguments
        ---------
        data : Representations
        labels : sequence
            A class of any type for every utterance.
        frames_per_second : float
            Rate of the frames, to turn ``segment`` into frames.
        seed : int
            Of initial weights and segments.
        device : str
        progressbar : bool
        name : str
            Beside the progress bar.

        Returns
        -------
        LearningCurve
        """
        self.classes, targets = np.unique(
            np.asarray(labels), return_inverse=True
        )
        if len(self.classes) < 2:
            raise ValueError("an attacker needs two classes to learn")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self._fit(
                data,
                torch.as_tensor(targets),
                max(2, round(self.segment * frames_per_second)),
                np.random.default_rng(seed),
                device,
                tqdm(
                    range(self.epochs),
                    desc=name,
                    dynamic_ncols=True,
                    disable=not progressbar,
                ),
            )

    def _fit(self, data, targets, n_frames, rng, device, epochs):
        self.device = device
        # Per channel over the training frames: an attacker sees any scale.
        frames = torch.from_numpy(data.frames)
        self.mean = frames.mean(0).to(device)
        self.std = frames.std(0).clamp(min=1e-5).to(device)
        self.network = self.network_class(input_size=data.dim).to(device)
        with torch.no_grad():
            size = self.network(
                torch.zeros(2, n_frames, data.dim, device=device),
                torch.ones(2, n_frames, dtype=torch.bool, device=device),
            ).shape[1]
        output = torch.nn.Linear(size, len(self.classes), bias=False).to(device)
        parameters = [*self.network.parameters(), *output.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=self.lr, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            self.lr,
            total_steps=self.check(len(data)),
            pct_start=0.2,
        )
        curve = LearningCurve()
        self.network.train()
        for _ in epochs:
            order = self._order(targets.numpy(), rng)
            losses, correct = [], 0
            batches = np.array_split(
                order, max(1, len(order) // self.batch_size)
            )
            for rows in batches:
                x = self._segments(data, frames, rows, n_frames, rng)
                y = targets[rows].to(device)
                cos = F.linear(
                    F.normalize(self._embed(x, None), dim=1),
                    F.normalize(output.weight, dim=1),
                )
                loss = self._loss(cos, y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 5.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                correct += int((cos.argmax(1) == y).sum())
            curve.loss.append(float(np.mean(losses)))
            curve.accuracy.append(correct / len(order))
        self.output = output
        self.network.eval()
        return curve

    def _order(self, targets, rng):
        n_items = len(targets) * self.crops
        if not self.balanced:
            return rng.permutation(np.tile(np.arange(len(targets)), self.crops))
        weights = 1.0 / np.bincount(targets)[targets]
        return rng.choice(len(targets), n_items, p=weights / weights.sum())

    @staticmethod
    def _segments(data, frames, rows, n_frames, rng):
        """Random segments; an utterance shorter than one is repeated."""
        counts = data.counts[rows]
        room = np.maximum(counts - n_frames, 0) + 1
        start = (rng.random(len(rows)) * room).astype(np.int64)
        index = (start[:, None] + np.arange(n_frames)) % counts[:, None]
        return frames[torch.from_numpy(index + data.offsets[rows][:, None])]

    def _loss(self, cos, targets):
        if self.margin > 0:
            cos = with_margin(cos, targets, self.margin)
        return F.cross_entropy(self.scale * cos, targets)

    def _embed(self, x, mask):
        x = (x.to(self.device) - self.mean) / self.std
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return self.network(x, mask)

    @torch.no_grad()
    def embed(self, data, batch_size=32):
        """Embeddings of whole utterances.

        Arguments
        ---------
        data : Representations
        batch_size : int

        Returns
        -------
        numpy.ndarray
            ``[utterances, embedding]``, length one each.
        """
        if getattr(self.network, "one_at_a_time", False):
            batch_size = 1
        order = np.argsort(data.counts, kind="stable")
        result = np.empty((len(data), self.output.in_features), np.float32)
        for some in np.array_split(order, -(-len(order) // batch_size)):
            x = torch.nn.utils.rnn.pad_sequence(
                [
                    torch.from_numpy(
                        data.frames[data.offsets[i] : data.offsets[i + 1]]
                    )
                    for i in some
                ],
                batch_first=True,
            )
            counts = torch.from_numpy(data.counts[some])
            mask = frames_mask(counts, x.shape[1]).to(self.device)
            embedded = F.normalize(self._embed(x, mask), dim=1)
            result[some] = embedded.cpu().numpy()
        return result

    def class_scores(self, data):
        """Cosine to every class, ``[utterances, classes]``."""
        weight = F.normalize(self.output.weight, dim=1).detach().cpu().numpy()
        return self.embed(data) @ weight.T
