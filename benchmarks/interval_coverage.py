"""Do 95 % intervals over speakers cover the truth 95 times in 100?

Speakers with embeddings of their own spread and noise are drawn again and
again; the truth is the mean of much larger draws. Cosine scores, all pairs.

> python benchmarks/interval_coverage.py [--speakers 20 50 200]

Prints, for each metric and method, the share of intervals that cover, and
how many lie below and above the truth. Goal: 92 to 98 %.
"""

import argparse

import numpy as np

from speechbrain_privacy.metrics.trials import SpeakerScores
from speechbrain_privacy.metrics.uncertainty import score_intervals
from speechbrain_privacy.metrics.verification import RANK_METRICS

METRICS = ("eer", "min_cllr", "expected_disclosure", "auc")


def draw(n_speakers, n_utterances, noise, rng):
    """Trials of new speakers."""
    who = np.repeat(np.arange(n_speakers), n_utterances)
    centre = rng.normal(size=(n_speakers, 8)) * np.exp(
        0.3 * rng.normal(size=(n_speakers, 1))
    )
    own_noise = noise * np.exp(0.3 * rng.normal(size=(n_speakers, 1)))
    x = centre[who] + own_noise[who] * rng.normal(size=(len(who), 8))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    i, j = np.triu_indices(len(who), 1)
    return SpeakerScores.of_pairs((x @ x.T)[i, j], who[i], who[j])


def main():
    """Runs the simulation and prints a line per metric and method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--speakers", type=int, nargs="+", default=[20, 50, 200]
    )
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--utterances", type=int, default=5)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--methods", nargs="+", default=["jackknife"])
    parser.add_argument("--truth-speakers", type=int, default=500)
    options = parser.parse_args()
    for noise in options.noise:
        rng = np.random.default_rng(1)
        large = [
            draw(
                options.truth_speakers, options.utterances, noise, rng
            ).blocks()
            for _ in range(6)
        ]
        truth = {
            name: np.mean([RANK_METRICS[name](blocks) for blocks in large])
            for name in METRICS
        }
        for n_speakers in options.speakers:
            for method in options.methods:
                found = []
                for seed in range(options.repetitions):
                    rng = np.random.default_rng(1000 + seed)
                    data = draw(n_speakers, options.utterances, noise, rng)
                    found.append(
                        score_intervals(data, METRICS, method, n_draws=200)
                    )
                for name in METRICS:
                    below = np.mean([f[name].high < truth[name] for f in found])
                    above = np.mean([f[name].low > truth[name] for f in found])
                    print(
                        f"noise {noise}, {n_speakers} speakers, {method}, "
                        f"{name} {truth[name]:.3f}: covers "
                        f"{100 * (1 - below - above):.1f} % "
                        f"(below {100 * below:.1f}, above {100 * above:.1f})",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
