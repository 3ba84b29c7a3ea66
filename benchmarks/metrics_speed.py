"""How fast the verification metrics are, beside their peers.

One process, one thread, the same scores (10 % mated, d' = 2). SpeechBrain's
EER and, if it is installed or its folder is given, the Cllr_min of the
VoicePrivacy challenge (``metrics/cllr.py``) run on the same lists.

> python benchmarks/metrics_speed.py [--voiceprivacy FOLDER]

Prints raw CPU seconds, peak extra memory, and ``ratio`` lines. Goals: all
metrics of 10^6 trials in at most 0.25 s and 30 MB; 1000 bootstrap draws of
EER and Cllr_min on 200 speakers x 20 utterances in at most 20 s; 10^8
trials in at most 1 GB; SpeechBrain's EER at least 1000 times slower (10^5),
VoicePrivacy's Cllr_min 150 times.
"""

import argparse
import importlib
import resource
import sys
import time
import tracemalloc

import numpy as np

from speechbrain_privacy.metrics.scores import PooledScores
from speechbrain_privacy.metrics.streaming import ScoreHistogram
from speechbrain_privacy.metrics.trials import SpeakerScores
from speechbrain_privacy.metrics.uncertainty import speaker_draws
from speechbrain_privacy.metrics.verification import (
    eer,
    evaluate_scores,
    min_cllr,
)


def lists(n_trials):
    """Mated and non-mated scores."""
    rng = np.random.default_rng(0)
    n_mated = n_trials // 10
    return rng.normal(2, 1, n_mated), rng.normal(0, 1, n_trials - n_mated)


def cpu(function, repeats=1):
    """Smallest CPU time of some calls, in seconds."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def all_metrics(sizes):
    """Every metric of ``evaluate_scores``; time and memory."""
    for n_trials in sizes:
        both = lists(n_trials)
        seconds = cpu(lambda both=both: evaluate_scores(*both), 3)
        tracemalloc.start()
        evaluate_scores(*both)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(
            f"all metrics, {n_trials:.0e} trials: {seconds:.3f} s, {peak:.1f} MB"
        )


def against_speechbrain(n_trials):
    """SpeechBrain's EER on the same list."""
    import torch
    from speechbrain.utils.metric_stats import EER

    torch.set_num_threads(1)
    mated, nonmated = lists(n_trials)
    ours = cpu(lambda: eer(PooledScores(mated, nonmated).blocks()), 5)
    tensors = torch.from_numpy(mated), torch.from_numpy(nonmated)
    theirs = cpu(lambda: EER(*tensors))
    print(
        f"EER, {n_trials:.0e} trials: ours {ours:.4f} s, theirs {theirs:.1f} s"
    )
    print(f"ratio speechbrain_eer {theirs / ours:.0f}")


def against_voiceprivacy(folder, n_trials):
    """The challenge's Cllr_min on the same list."""
    sys.path.insert(0, folder)
    peer = importlib.import_module("cllr")
    mated, nonmated = lists(n_trials)
    ours = cpu(lambda: min_cllr(PooledScores(mated, nonmated).blocks()), 3)
    theirs = cpu(lambda: peer.min_cllr(mated, nonmated))
    print(
        f"Cllr_min, {n_trials:.0e} trials: ours {ours:.4f} s, "
        f"theirs {theirs:.1f} s"
    )
    print(f"ratio voiceprivacy_min_cllr {theirs / ours:.0f}")


def bootstrap(n_speakers=200, n_utterances=20, n_draws=1000):
    """Draws over speakers, all pairs of utterances."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(n_speakers), n_utterances)
    x = rng.normal(size=(n_speakers, 16))[who] + rng.normal(size=(len(who), 16))
    i, j = np.triu_indices(len(who), 1)
    scores = (x @ x.T)[i, j]
    start = time.process_time()
    data = SpeakerScores.of_pairs(scores, who[i], who[j])
    for blocks in data.resampled(speaker_draws(n_speakers, n_draws)):
        eer(blocks)
        min_cllr(blocks)
    seconds = time.process_time() - start
    print(f"{n_draws} draws over {len(scores):.1e} trials: {seconds:.1f} s")


def streaming(n_trials):
    """A list that never is in memory as a whole."""
    rng = np.random.default_rng(0)
    histogram = ScoreHistogram(-10, 10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, done = 0.0, 0
    while done < n_trials:
        piece = rng.normal(2, 1, 10**5), rng.normal(0, 1, 9 * 10**5)
        start = time.process_time()
        histogram.add(*piece)
        seconds += time.process_time() - start
        done += 10**6
    report = histogram.report()
    low, high = report.bounds["min_cllr"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"streaming, {n_trials:.0e} trials: {seconds:.1f} s, "
        f"{max(0, peak - before) / 1e3:.0f} MB above {before / 1e3:.0f} MB, "
        f"Cllr_min in [{low:.7f}, {high:.7f}]"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voiceprivacy", help="folder that holds cllr.py")
    parser.add_argument("--largest", type=float, default=1e8)
    parser.add_argument("--peer-trials", type=float, default=1e5)
    options = parser.parse_args()
    # Before anything that needs memory: the peak is the process's own.
    streaming(int(options.largest))
    all_metrics([n for n in (10**5, 10**6, 10**7) if n <= options.largest])
    if options.largest >= 1e7:
        bootstrap()
    against_speechbrain(int(options.peer_trials))
    if options.voiceprivacy:
        against_voiceprivacy(options.voiceprivacy, 10**6)
