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
        Name -> ``Tap``.
    most_frames : int
        Training frames; of more, as many are drawn.
    penalty : float
        Inverse strength of the L2 penalty.
    seed : int
        Of the draw.

    Example
    -------
    >>> from speechbrain_privacy.audit.representations import Tap
    >>> PhoneProbe({"encoder": Tap("encoder")}).most_frames
    50000
    """

    def __init__(self, taps, most_frames=50000, penalty=1.0, seed=0):
        self.taps = taps
        self.most_frames = most_frames
        self.penalty = penalty
        self.seed = seed

    def run(self, brain, train, test, alignments, progressbar=True):
        """Learns phones of training speakers, is tested on others.

        Arguments
        ---------
        brain : AdversarialBrain
            Trained; not changed.
        train, test : tuple
            ``(dataset, manifest)``.
        alignments : dict
            As ``dataio.alignments.read_alignments`` returns them; utterances
            that are not in it are left out.
        progressbar : bool

        Returns
        -------
        dict
            Tap -> the share of wrong frames in percent with its interval over
            test speakers, that of always saying the most frequent phone of
            training (``majority``), and how many frames and phones there are.
        """
        found = {}
        data = [
            extract(brain, self.taps, dataset, progressbar=progressbar)
            for dataset, _ in (train, test)
        ]
        for name, tap in self.taps.items():
            grid = frame_grid(brain.modules.get_submodule(tap.module))
            found[name] = self.score(
                labelled_frames(data[0][name], train[1], alignments, *grid),
                labelled_frames(data[1][name], test[1], alignments, *grid),
            )
        return found

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
        wrong = probe.predict(test[0]) != test[1]
        kinds, counts = np.unique(phones, return_counts=True)
        most_frequent = kinds[counts.argmax()]
        interval = ratio_interval(
            wrong.astype(float), np.ones(len(wrong)), list(test[2])
        )
        return {
            "error": asdict(scaled(interval, 100.0)),
            "majority": 100 * float((test[1] != most_frequent).mean()),
            "phones": len(kinds),
            "train_frames": len(frames),
            "test_frames": len(wrong),
        }


def frame_grid(module):
    """Where a module's frames lie: seconds between them, and of the first.

    Arguments
    ---------
    module : torch.nn.Module
        With a ``grid`` of its own, or whose frames come every 10 ms.
    """
    return getattr(module, "grid", (0.01, 0.0))


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
        speakers.append(np.full(inside.sum(), rows[key]["spk_id"]))
    if not frames:
        raise ValueError(f"{manifest.path}: none of its IDs has an alignment")
    return (
        np.concatenate(frames),
        np.concatenate(phones),
        np.concatenate(speakers),
    )
