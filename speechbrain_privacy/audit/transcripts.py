"""What a frozen encoder knows of words: a small CTC reader of its frames."""

import time
from dataclasses import asdict

import numpy as np
import torch
from speechbrain.dataio.dataset import FilteredSortedDynamicItemDataset
from tqdm import tqdm

from speechbrain_privacy.audit.phones import frame_grid
from speechbrain_privacy.audit.representations import Representations, extract
from speechbrain_privacy.metrics.error_rates import character_errors
from speechbrain_privacy.metrics.uncertainty import ratio_interval, scaled
from speechbrain_privacy.nnet.pooling import frames_mask


class LinearHead(torch.nn.Module):
    """Each frame on its own.

    Example
    -------
    >>> LinearHead(4, 7)(torch.rand(2, 5, 4), torch.tensor([5, 3])).shape
    torch.Size([2, 5, 7])
    """

    def __init__(self, input_size, n_tokens):
        super().__init__()
        self.out = torch.nn.Linear(input_size, n_tokens)

    def forward(self, x, counts):
        """``x [batch, frames, input_size]`` -> ``[batch, frames, n_tokens]``."""
        return self.out(x)


class RecurrentHead(torch.nn.Module):
    """One bidirectional LSTM layer, then each frame.

    Arguments
    ---------
    input_size, n_tokens : int
    hidden_size : int
        In each direction.

    Example
    -------
    >>> RecurrentHead(4, 7, 8)(torch.rand(2, 5, 4), torch.tensor([5, 3])).shape
    torch.Size([2, 5, 7])
    """

    def __init__(self, input_size, n_tokens, hidden_size=128):
        super().__init__()
        self.lstm = torch.nn.LSTM(
            input_size, hidden_size, batch_first=True, bidirectional=True
        )
        self.out = torch.nn.Linear(2 * hidden_size, n_tokens)

    def forward(self, x, counts):
        """``x [batch, frames, input_size]`` -> ``[batch, frames, n_tokens]``."""
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, counts.cpu(), batch_first=True, enforce_sorted=False
        )
        hidden, _ = torch.nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        return self.out(hidden)


class TranscriptProbe:
    """Learns to read characters from frozen frames, by CTC.

    Source: the downstream tasks of Yang et al., "SUPERB", Interspeech 2021,
    and Zaiem et al., "Speech self-supervised representation benchmarking: are
    we doing it right?", Interspeech 2023, who show that the ranking of
    encoders depends on the head: hence two.

    Arguments
    ---------
    taps : dict
        Name -> ``Tap``; those of None are left out.
    heads : dict, optional
        Name -> function of channels and tokens that makes a head. Default:
        ``linear`` and ``bilstm``.
    frame_seconds : float
        Frames that come more often are stacked up to this, so that features
        and encoders are read at one rate.
    most_utterances : int
        To learn on; of more, as many are drawn: their frames are in memory.
    epochs : int
    batch_size : int
        Utterances.
    lr : float
        Of Adam, at its peak; it rises and falls once.
    seed : int

    Example
    -------
    >>> from speechbrain_privacy.audit.representations import Tap
    >>> sorted(TranscriptProbe({"encoder": Tap("encoder")}).heads)
    ['bilstm', 'linear']
    """

    def __init__(
        self,
        taps,
        heads=None,
        frame_seconds=0.04,
        most_utterances=2000,
        epochs=30,
        batch_size=16,
        lr=0.004,
        seed=0,
    ):
        self.taps = {name: tap for name, tap in taps.items() if tap}
        self.frame_seconds = frame_seconds
        self.most_utterances = most_utterances
        self.heads = heads or {"linear": LinearHead, "bilstm": RecurrentHead}
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.seed = seed

    @staticmethod
    def check(train, test):
        """Refuses manifests without transcripts, before a model is trained.

        Arguments
        ---------
        train, test : Manifest
        """
        for manifest in (train, test):
            _texts(manifest)

    def run(self, brain, train, test, progressbar=True):
        """Learns on one manifest, reads another.

        Arguments
        ---------
        brain : AdversarialBrain
            Trained; not changed.
        train, test : tuple
            ``(dataset, manifest)`` with transcripts (``wrd``) and, in the
            second, ``spk_id``.
        progressbar : bool

        Returns
        -------
        dict
            Tap -> head -> ``CER`` in percent with its interval over test
            speakers, the training's ``losses`` and ``seconds``, and how many
            of its utterances were ``too_short`` for CTC.
        """
        texts = [_texts(manifest) for _, manifest in (train, test)]
        dataset, manifest = train
        if len(texts[0]) > self.most_utterances:
            draw = np.random.default_rng(self.seed)
            kept = draw.permutation(sorted(texts[0]))[: self.most_utterances]
            texts[0] = {key: texts[0][key] for key in kept}
            dataset = FilteredSortedDynamicItemDataset(dataset, list(kept))
            train = dataset, manifest
        speakers = {row["ID"]: row["spk_id"] for row in test[1].rows}
        data = [
            extract(brain, self.taps, dataset, progressbar=progressbar)
            for dataset, _ in (train, test)
        ]
        found = {}
        for tap in self.taps:
            step, _ = frame_grid(brain.modules, data[1][tap], test[1])
            many = max(1, round(self.frame_seconds / step))
            sides = [
                (stacked(some[tap], many), some_texts)
                for some, some_texts in zip(data, texts, strict=True)
            ]
            found[tap] = {
                name: self.score(head, *sides, speakers, progressbar)
                for name, head in self.heads.items()
            }
        return found

    def score(self, head, train, test, speakers, progressbar=True):
        """One head on one representation.

        Arguments
        ---------
        head : callable
        train, test : tuple
            ``(Representations, {ID: transcript})``.
        speakers : dict
            Of the test utterances.
        progressbar : bool

        Returns
        -------
        dict
        """
        began = time.process_time()
        representations, texts = train
        characters = sorted(set("".join(texts.values())))
        # Whoever trains the model draws from torch's own generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            mean = representations.frames.mean(0)
            std = representations.frames.std(0) + 1e-5
            model = head(representations.dim, 1 + len(characters))
            losses = self._fit(
                model, representations, texts, characters, (mean, std),
                progressbar,
            )  # fmt: skip
        read = _read(model.eval(), test[0], characters, (mean, std))
        counts = [character_errors(test[1][key], read[key]) for key in read]
        interval = ratio_interval(
            [c.errors for c in counts],
            [c.reference for c in counts],
            [speakers[key] for key in read],
        )
        return {
            "CER": asdict(scaled(interval, 100.0)),
            "losses": losses,
            # CTC has no loss where there are fewer frames than characters.
            "too_short": sum(
                int(count) < len(texts[key])
                for key, count in zip(
                    representations.ids, representations.counts, strict=True
                )
            ),
            "seconds": time.process_time() - began,
        }

    def _fit(self, model, data, texts, characters, scale, progressbar):
        token = {c: 1 + i for i, c in enumerate(characters)}
        # Batches of about equal length, in another order in every epoch.
        order = np.argsort(data.counts, kind="stable")
        n_batches = -(-len(order) // self.batch_size)
        batches = np.array_split(order, n_batches)
        optimizer = torch.optim.Adam(model.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=self.epochs * n_batches
        )
        losses = []
        for _ in tqdm(
            range(self.epochs),
            desc="reading",
            dynamic_ncols=True,
            disable=not progressbar,
        ):
            sums = 0.0
            for i in torch.randperm(n_batches).tolist():
                x, counts = _padded(data, batches[i], scale)
                tokens = [
                    torch.tensor([token[c] for c in texts[data.ids[k]]])
                    for k in batches[i]
                ]
                log_probs = model(x, counts).log_softmax(2).transpose(0, 1)
                loss = torch.nn.functional.ctc_loss(
                    log_probs,
                    torch.cat(tokens),
                    counts,
                    torch.tensor([len(t) for t in tokens]),
                    zero_infinity=True,
                )
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                schedule.step()
                sums += float(loss.detach())
            losses.append(sums / n_batches)
        return losses


def stacked(data, many):
    """Frames -> fewer, wider ones; the last are filled up with zeros.

    Arguments
    ---------
    data : Representations
    many : int
        Frames that become one.

    Returns
    -------
    Representations

    Example
    -------
    >>> found = stacked(Representations.of({"a": np.ones((5, 2))}), 2)
    >>> found.frames.shape, found.frames[2].tolist()
    ((3, 4), [1.0, 1.0, 0.0, 0.0])
    """
    if many == 1:
        return data
    return Representations.of(
        {
            key: np.pad(x, ((0, -len(x) % many), (0, 0))).reshape(
                -1, many * x.shape[1]
            )
            for key, x in zip(data.ids, data.utterances(), strict=True)
        }
    )


def _texts(manifest):
    """ID -> transcript of a manifest, which must have all of them."""
    texts = {}
    for row in manifest.rows:
        text = " ".join((row.get("wrd") or "").split())
        if not text:
            raise ValueError(
                f"{manifest.path}: utterance '{row['ID']}' has no transcript "
                "(column 'wrd'), and characters are to be read"
            )
        texts[row["ID"]] = text
    return texts


def _padded(data, places, scale):
    """Utterances -> ``[batch, frames, dim]``, standardised, and counts."""
    mean, std = scale
    rows = [
        torch.from_numpy(
            (data.frames[data.offsets[i] : data.offsets[i + 1]] - mean) / std
        )
        for i in places
    ]
    counts = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), counts


@torch.no_grad()
def _read(model, data, characters, scale, batch_size=16):
    """ID -> the best path's characters."""
    found = {}
    for start in range(0, len(data), batch_size):
        places = range(start, min(start + batch_size, len(data)))
        x, counts = _padded(data, places, scale)
        best = model(x, counts).argmax(2)
        best = best.masked_fill(~frames_mask(counts, best.shape[1]), 0)
        for i, row in zip(places, best.tolist(), strict=True):
            kept = [
                characters[now - 1]
                for now, before in zip(row, [0, *row], strict=False)
                if now and now != before
            ]
            found[data.ids[i]] = "".join(kept)
    return found
