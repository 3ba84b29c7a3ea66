"""What a frozen encoder knows of phones: a linear probe on its frames."""

from dataclasses import asdict

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from speechbrain_privacy.audit.representations import extract
from speechbrain_privacy.metrics.uncertainty import ratio_interval, scaled


class PhoneProbe:
    """Logistic regression from frames to phones, on other speakers.

    Arguments
    ---------
    taps : dict
        Name -> ``Tap``; those of None are left out.
    most_frames : int
        Training frames; of more, as many are drawn.
    penalty : float
        Inverse strength of the L2 penalty.
    curve : str
        The tap that is probed on encoders kept on the way.
    folds : int, optional
        Where few utterances are aligned: the probe learns and is tested on
        the test data alone, each of so many groups of speakers being judged
        by what was learnt from the others.
    seed : int
        Of the draws of frames and groups.

    Example
    -------
    >>> from speechbrain_privacy.audit.representations import Tap
    >>> PhoneProbe({"encoder": Tap("encoder")}).most_frames
    50000
    """

    def __init__(
        self,
        taps,
        most_frames=50000,
        penalty=1.0,
        curve="encoder",
        folds=None,
        seed=0,
    ):
        if taps and curve not in taps:
            raise ValueError(f"curve is '{curve}', taps are {', '.join(taps)}")
        if folds is not None and folds < 2:
            raise ValueError(f"folds are 2 or more, not {folds}")
        self.taps = {name: tap for name, tap in taps.items() if tap}
        self.most_frames = most_frames
        self.penalty = penalty
        self.curve = curve
        self.folds = folds
        self.seed = seed

    @property
    def settings(self):
        """What makes two probes comparable."""
        names = ("most_frames", "penalty", "folds", "seed")
        return {name: getattr(self, name) for name in names}

    def run(self, brain, train, test, alignments, progressbar=True, taps=None):
        """Learns phones of training speakers, is tested on others.

        Arguments
        ---------
        brain : AdversarialBrain
            Trained; not changed.
        train, test : tuple
            ``(dataset, manifest)``; with ``folds`` the first is not used.
        alignments : dict
            As ``dataio.alignments.read_alignments`` returns them; utterances
            that are not in it are left out.
        progressbar : bool
        taps : list of str, optional
            Of them; default: all.

        Returns
        -------
        dict
            Tap -> the share of wrong frames in percent with its interval over
            test speakers, that of always saying the most frequent phone of
            training (``majority``), how many frames and phones there are, and
            wrong and all frames of each speaker.
        """
        found = {}
        taps = {name: self.taps[name] for name in taps or self.taps}
        parts = [test] if self.folds else [train, test]
        data = [
            extract(brain, taps, dataset, progressbar=progressbar)
            for dataset, _ in parts
        ]
        for name in taps:
            labelled = [
                labelled_frames(
                    some[name],
                    part[1],
                    alignments,
                    *frame_grid(brain.modules, some[name], part[1]),
                )
                for some, part in zip(data, parts, strict=True)
            ]
            score = self.score_folds if self.folds else self.score
            found[name] = score(*labelled)
        return found

    def check(self, manifest, alignments):
        """Finds before a long training that there is nothing to probe.

        Arguments
        ---------
        manifest : Manifest
            Of the utterances to be tested on.
        alignments : dict

        Raises
        ------
        ValueError
            If there are fewer speakers than folds.
        """
        rows = [row for row in manifest.rows if row["ID"] in alignments]
        n = len({row.get("spk_id", "") for row in rows})
        if self.folds and n < self.folds:
            raise ValueError(
                f"{manifest.path}: {n} speakers with aligned utterances are "
                f"fewer than {self.folds} folds"
            )

    def score(self, train, test):
        """One probe.

        Arguments
        ---------
        train, test : tuple
            ``(frames [n, dim], phones [n], speakers [n])``.

        Returns
        -------
        dict
        """
        return self._summary(test, [(*self._judge(train, test), slice(None))])

    def score_folds(self, data):
        """Each group of speakers, judged by what the others teach.

        Arguments
        ---------
        data : tuple
            As in ``score``.

        Returns
        -------
        dict
        """
        frames, phones, speakers = data
        names = np.unique(speakers)
        if len(names) < self.folds:
            raise ValueError(
                f"{len(names)} speakers with aligned utterances are fewer "
                f"than {self.folds} folds"
            )
        order = np.random.default_rng(self.seed).permutation(len(names))
        judged = []
        for group in np.array_split(names[order], self.folds):
            out = np.isin(speakers, group)
            parts = [
                tuple(x[where] for x in (frames, phones, speakers))
                for where in (~out, out)
            ]
            judged.append((*self._judge(*parts), out))
        return self._summary(data, judged)

    def _judge(self, train, test):
        """Which test frames are wrong, which would be if always the most
        frequent phone were said, and training's frames and phones."""
        frames, phones, _ = train
        if len(frames) > self.most_frames:
            draw = np.random.default_rng(self.seed)
            kept = draw.choice(len(frames), self.most_frames, replace=False)
            frames, phones = frames[kept], phones[kept]
        probe = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=self.penalty, max_iter=300, tol=1e-3),
        )
        probe.fit(frames, phones)
        kinds, counts = np.unique(phones, return_counts=True)
        return (
            probe.predict(test[0]) != test[1],
            test[1] != kinds[counts.argmax()],
            len(frames),
            len(kinds),
        )

    def _summary(self, test, judged):
        speakers = test[2]
        wrong, missed = (np.empty(len(speakers), bool) for _ in range(2))
        for errors, majority, _, _, where in judged:
            wrong[where], missed[where] = errors, majority
        interval = ratio_interval(
            wrong.astype(float), np.ones(len(wrong)), list(speakers)
        )
        return {
            "error": asdict(scaled(interval, 100.0)),
            "majority": 100 * float(missed.mean()),
            "phones": max(kinds for *_, kinds, _ in judged),
            "train_frames": max(frames for _, _, frames, _, _ in judged),
            "test_frames": len(wrong),
            "by_speaker": {
                str(name): (int(wrong[own].sum()), int(own.sum()))
                for name in np.unique(speakers)
                for own in [speakers == name]
            },
        }


def frame_grid(modules, data, manifest):
    """Where frames lie: seconds between them, and of the middle of the first.

    Arguments
    ---------
    modules : torch.nn.Module
        Of the Brain; those that change the frame rate have a ``grid``.
    data : Representations
        What was tapped, anywhere.
    manifest : Manifest
        Of these utterances, with durations.

    Returns
    -------
    tuple of float
        The grid of a module, or 10 ms, whichever fits how many frames there
        are.

    Raises
    ------
    ValueError
        If none does.
    """
    lasting = {row["ID"]: float(row["duration"]) for row in manifest.rows}
    seconds = sum(lasting[key] for key in data.ids)
    grids = {(0.01, 0.0)}
    grids |= {m.grid for m in modules.modules() if hasattr(m, "grid")}
    # Each utterance may have a frame more than fits.
    off = {
        grid: abs(seconds / grid[0] - len(data.frames)) / len(data.frames)
        for grid in grids
    }
    best = min(off, key=off.get)
    if off[best] > 0.05 + 2 * len(data) / len(data.frames):
        raise ValueError(
            f"frames come every {1000 * seconds / len(data.frames):.1f} ms; "
            "known are "
            + ", ".join(f"{1000 * step:g} ms" for step, _ in sorted(grids))
        )
    return best


def labelled_frames(representations, manifest, alignments, step, first):
    """Frames with the phone at their middle, and who speaks.

    Arguments
    ---------
    representations : Representations
    manifest : Manifest
        With ``spk_id``.
    alignments : dict
        Utterance -> ``(start, end, phone)``.
    step, first : float
        Seconds from the middle of one frame to the next, and where the first
        has its middle.

    Returns
    -------
    tuple
        ``(frames [n, dim], phones [n], speakers [n])``; frames after the last
        segment are left out.

    Raises
    ------
    ValueError
        If no utterance is aligned.
    """
    rows = {row["ID"]: row for row in manifest.rows}
    frames, phones, speakers = [], [], []
    for key, x in zip(
        representations.ids, representations.utterances(), strict=True
    ):
        if key not in alignments:
            continue
        middles = first + step * np.arange(len(x))
        starts = [start for start, _, _ in alignments[key]]
        at = np.searchsorted(starts, middles, side="right") - 1
        inside = (at >= 0) & (middles < alignments[key][-1][1])
        names = np.array([phone for _, _, phone in alignments[key]])
        frames.append(x[inside])
        phones.append(names[at[inside]])
        speakers.append(np.full(inside.sum(), rows[key].get("spk_id", "")))
    if not frames:
        raise ValueError(f"{manifest.path}: none of its IDs has an alignment")
    return (
        np.concatenate(frames),
        np.concatenate(phones),
        np.concatenate(speakers),
    )
