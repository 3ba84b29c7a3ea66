"""Do the weights of pretext tasks, found without training, tell what is learnt?

    python benchmarks/pretext_selection.py --output results

Trains small encoders on MiniSpeech, with several seeds each: one for every
single task, and one for every weighting of all of them (the command
``pretext``'s, equal, published, and random ones), without reconstruction of
spectra, so that nothing but the tasks is learnt from. A linear probe says how
many frames of unseen speakers each takes for another phone. Prints Kendall's
correlation between that error and what is known before training (HSIC, HSIC
over that of shuffled segments, variance within a class, how well the target
is told linearly from the speech), and where each weighting ranks. Goes on
where it was stopped; writes ``selection.json`` into the output folder.
"""

import argparse
import importlib
import json
import statistics
import sys
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from speechbrain_privacy.audit.pretext import (
    describe_segments,
    null_levels,
    segments_of,
)
from speechbrain_privacy.dataio.alignments import load_alignments
from speechbrain_privacy.dataio.files import write_json
from speechbrain_privacy.dataio.manifest import read_manifest
from speechbrain_privacy.dataio.minispeech import default_folder
from speechbrain_privacy.experiments import evaluate_pretraining
from speechbrain_privacy.lobes.descriptors import Descriptors
from speechbrain_privacy.metrics.dependence import task_weights

RECIPE = Path(__file__).parents[1] / (
    "recipes/MiniSpeech/self-supervised-learning/multitask"
)
#: Sparsemax weights of Zaiem et al. (2022) for words of LibriSpeech.
PUBLISHED = {
    "f0": 0.3745,
    "alpha_ratio": 0.2969,
    "log_hnr": 0.2710,
    "rasta": 0.0575,
}
UNTRAINED = "untrained"
#: Of the ridge regression from speech to a target, and its folds.
RIDGE, FOLDS = 1.0, 5


def told_linearly(kernel, target):
    """Share of a target's variance that others' speech foretells (5 folds)."""
    kernel = kernel + 1.0  # speech that is the same everywhere tells a mean
    fold = np.arange(len(target)) % FOLDS
    guess = np.empty(len(target))
    for k in range(FOLDS):
        known, asked = fold != k, fold == k
        mean = target[known].mean()
        own = kernel[np.ix_(known, known)] + RIDGE * np.eye(known.sum())
        dual = np.linalg.solve(own, target[known] - mean)
        guess[asked] = mean + kernel[np.ix_(asked, known)] @ dual
    return 1.0 - np.square(guess - target).mean() / target.var()


def known_before(kernels, targets):
    """Predictor -> task -> value, and the weights of both methods."""
    found = {
        method: task_weights(
            list(kernels.values()), list(targets.values()), method
        )
        for method in ("sparsemax", "softmax")
    }
    alone = found["sparsemax"].alone
    null = null_levels(kernels, targets, "hsic")
    classes = list(kernels)

    def mean(function):
        return {
            task: float(
                np.mean(
                    [function(kernels[c], targets[c][task]) for c in classes]
                )
            )
            for task in alone
        }

    predictors = {
        "HSIC": alone,
        "HSIC / shuffled": {task: alone[task] / null[task] for task in alone},
        "variance": mean(lambda _, target: target.var()),
        "linear R2": mean(told_linearly),
    }
    return predictors, {name: one.weights for name, one in found.items()}


def error_of(generation, name, weights, seed, epochs, output):
    """Per cent of frames taken for another phone: features', and those of an
    encoder trained on such tasks."""
    folder = Path(output).absolute() / name / str(seed)
    path = folder / "results.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    if "phones" not in found or found["epochs"] != epochs:
        hparams, brain, data, alignments = generation(
            str(RECIPE / "hparams/multitask.yaml"),
            {"device": "cpu", "noprogressbar": True},
            {
                "name": name,
                "seed": seed,
                "output_folder": str(folder),
                "number_of_epochs": epochs,
                "reader": None,
                "weights": weights,
                "objective": {"mel_weight": 0.0, "mfcc_weight": 0.0},
                "model": {"d_model": 64, "num_layers": 2, "d_ffn": 256},
            },
        )
        probe = hparams["probe"]
        found = evaluate_pretraining(
            brain, data, folder, name, seed, probe, alignments
        )
    phones = found["phones"]
    return [phones[tap]["error"]["value"] for tap in ("logmel", "encoder")]


def correlations_of(predictors, errors):
    """Predictor -> Kendall's tau with the mean error, how likely one as large
    is by chance (exactly, without ties), and tau with each seed's errors."""
    found = {}
    for name, values in predictors.items():
        before = [values[task] for task in errors]
        mean = [statistics.mean(some) for some in errors.values()]
        both = kendalltau(before, mean)
        single = [
            float(kendalltau(before, seed).statistic)
            for seed in zip(*errors.values(), strict=True)
        ]
        found[name] = {
            "tau": float(both.statistic),
            "p": float(both.pvalue),
            "of seeds": single,
        }
    return found


def main():
    """Trains what is missing, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--random", type=int, default=6, help="weightings")
    options = parser.parse_args()
    sys.path.insert(0, str(RECIPE))
    generation = importlib.import_module("train").generation
    prepare = importlib.import_module("minispeech_prepare")

    corpus, lists = default_folder(), Path(options.output) / "manifests"
    prepare.prepare_minispeech(corpus, lists)
    manifest = read_manifest(lists / "train.csv", corpus, ())
    phones = load_alignments(str(Path(corpus) / "alignments.csv"), [manifest])
    kernels, targets, _ = describe_segments(
        segments_of(manifest, phones), Descriptors()
    )
    predictors, weightings = known_before(kernels, targets)
    tasks = list(predictors["HSIC"])
    weightings |= {
        "published": PUBLISHED,
        "equal": dict.fromkeys(tasks, 1 / len(tasks)),
    }
    draw = np.random.default_rng(0)
    for i in range(options.random):
        drawn = draw.dirichlet(np.ones(len(tasks)))
        weightings[f"random {i + 1}"] = dict(zip(tasks, map(float, drawn)))
    arms = {task: {task: 1.0} for task in tasks} | weightings
    arms[UNTRAINED] = weightings["equal"]

    errors, features = {name: [] for name in arms}, None
    for seed in range(1, options.seeds + 1):
        for name, weights in arms.items():
            weights = {**dict.fromkeys(tasks, 0.0), **weights}
            epochs = 0 if name == UNTRAINED else options.epochs
            features, error = error_of(
                generation, name, weights, seed, epochs, options.output
            )
            errors[name].append(error)
            print(f"{name}, seed {seed}: {error:.1f} %", flush=True)

    means = {name: statistics.mean(some) for name, some in errors.items()}
    correlations = correlations_of(
        predictors, {task: errors[task] for task in tasks}
    )
    print(f"\nlog-mel features: {features:.1f} % phone error")
    print(f"untrained encoders: {said(errors[UNTRAINED])}")
    print("\ntask | error % of seeds | " + " | ".join(predictors))
    for task in sorted(tasks, key=means.get):
        known = " | ".join(f"{x[task]:.5f}" for x in predictors.values())
        print(f"{task} | {said(errors[task])} | {known}")
    print("\npredictor | Kendall's tau | p | of single seeds")
    for name, found in correlations.items():
        some = " ".join(f"{tau:.2f}" for tau in found["of seeds"])
        print(f"{name} | {found['tau']:.2f} | {found['p']:.3f} | {some}")
    print("\nweighting | error % of seeds")
    for name in sorted(weightings, key=means.get):
        print(f"{name} | {said(errors[name])}")
    write_json(
        Path(options.output) / "selection.json",
        {
            "epochs": options.epochs,
            "features": features,
            "errors": errors,
            "weights": weightings,
            "predictors": predictors,
            "correlations": correlations,
        },
    )


def said(errors):
    """Mean, and the standard deviation over seeds."""
    spread = f" ± {statistics.stdev(errors):.1f}" if len(errors) > 1 else ""
    return f"{statistics.mean(errors):.1f}{spread}"


if __name__ == "__main__":
    main()
