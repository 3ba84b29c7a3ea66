"""Pre-training and fine-tuning that is killed comes back, too."""

import json
import random

import pytest
import torch

from speechbrain_privacy.integrations.huggingface import write_tiny
from tests.integration.recipes import TINY, own_corpus, run
from tests.integration.test_resume import (
    IN_STEP,
    N_BATCHES,
    OPTIONS,
    assert_equal,
    outcome,
)

#: Dies before the batch at the given place, of whichever generation.
IN_GENERATIONS = """
import os, signal
from speechbrain_privacy.brains.adversarial import AdversarialBrain
fit_batch, calls = AdversarialBrain.fit_batch, []
def dying(self, batch):
    calls.append(batch)
    if len(calls) == {}:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit_batch(self, batch)
AdversarialBrain.fit_batch = dying
"""
#: Noise, dropout, masks, adversaries, checkpoints in mid-epoch.
PRETRAINING = (
    "--model={d_model: 16, num_layers: 2, d_ffn: 16}",
    "--batch_seconds=4",
    "--alignments=null",
    "--attack={epochs: 6, batch_size: 4}",
    "--device=cpu",
    "--noprogressbar",
    "--number_of_epochs=2",
    "--grad_accumulation_factor=2",
    "--ckpt_interval_minutes=0",
    "--ckpt_interval_steps=1",
)


#: Recipe, YAML, batches that are trained on (HuBERT's in two generations), and
#: what else it is asked for: noise and rooms where they can be.
OBJECTIVES = [
    ("bestrq", "bestrq", 12, ["--robust=both"]),
    ("bestrq", "bestrq_informed", 12, ["--adversaries=both"]),
    ("wav2vec2", "wav2vec2", 12, ["--robust=both", "--adversaries=both"]),
    (
        "hubert",
        "hubert",
        24,
        ["--robust=both", "--adversaries=both", "--n_clusters=6"],
    ),
    (
        "wavlm",
        "wavlm",
        24,
        ["--robust=both", "--adversaries=both", "--n_clusters=6"],
    ),
    ("multitask", "multitask", 12, ["--robust=both", "--adversaries=both"]),
    (
        "spin",
        "spin",
        12,
        ["--pretrained=null", "--robust=both", "--adversaries=both"],
    ),
]


def test_a_killed_fine_tuning(toy_corpus, tmp_path):
    """Rates by layer, a sum of layers, taps, latents that are hidden."""
    results = []
    write_tiny(tmp_path / "tiny", "wav2vec2", hidden_size=16, conv_dim=8)
    for name in ("whole", "killed"):
        arguments = (
            "AN4/ASR/CTC",
            "pretrained_adversarial",
            f"--model={{source: {tmp_path / 'tiny'}, d_model: 16, "
            "output: weighted, "
            "lr_decay: 0.5, gradient_checkpointing: true, "
            "freeze_feature_extractor: false}",
            "--layer=1",
            *TINY[1:],
            *OPTIONS[:1],
            *OPTIONS[2:5],
            "--adversary_steps=2",
            *own_corpus(toy_corpus),
            f"--output_folder={tmp_path / name}",
        )
        if name == "killed":
            before = IN_STEP.format(random.Random().randint(2, 2 * N_BATCHES))
            assert run(*arguments, before=before).returncode == -9
        done = run(*arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        results.append(outcome(tmp_path / name))
    assert_equal(*(weights for weights, _ in results))
    assert results[0][1] == results[1][1]


def killed_and_not(tmp_path, recipe, yaml, batches, arguments, kill_at=None):
    """Weights, optimizers and log of a training, and of one that was killed
    before a batch and run again."""
    results = []
    kill_at = kill_at or random.randint(1, batches - 1)
    for name, step in (("whole", None), ("killed", kill_at)):
        given = (recipe, yaml, *arguments, f"--output_folder={tmp_path / name}")
        if step:
            print("killed before batch", step)
            before = IN_GENERATIONS.format(step)
            assert run(*given, before=before).returncode == -9
        done = run(*given)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        (last,) = (tmp_path / name / "save").glob("CKPT*")
        tensors = {
            path.name: torch.load(path, weights_only=True)
            for path in last.glob("*.ckpt")
            if path.stem in ("encoder", "objective", "adversaries")
            or "optim" in path.stem
        }
        log = (tmp_path / name / "train_log.txt").read_text()
        results.append((tensors, log))
    return results


@pytest.mark.parametrize(("recipe", "yaml", "batches", "further"), OBJECTIVES)
def test_a_killed_pretraining(
    toy_corpus, tmp_path, recipe, yaml, batches, further
):
    results = killed_and_not(
        tmp_path,
        f"MiniSpeech/self-supervised-learning/{recipe}",
        yaml,
        batches,
        (*PRETRAINING, *further, *own_corpus(toy_corpus)),
        # With units that are kept, and nothing learnt of them yet.
        kill_at=batches // 2 + 1 if recipe == "hubert" else None,
    )
    # Encoder, objective, adversaries, and an optimizer for each role.
    attacked = "--adversaries=both" in further
    assert len(results[0][0]) == (5 if attacked else 4)
    assert ("speaker_stats" in results[0][1]) == attacked
    assert_equal(*results)


def test_a_killed_pretraining_of_waveforms(toy_corpus, tmp_path):
    write_tiny(tmp_path / "tiny", "hubert", hidden_size=16, conv_dim=8)
    results = killed_and_not(
        tmp_path,
        "AN4/self-supervised-learning/hubert",
        "hubert_waveform",
        24,
        (
            f"--model={{source: {tmp_path / 'tiny'}, d_model: 16}}",
            *PRETRAINING[1:],
            "--adversaries=both",
            "--n_clusters=6",
            "--reader=null",
            "--layer=1",
            *own_corpus(toy_corpus),
        ),
    )
    assert_equal(*results)


def test_killed_learning_of_boundaries(toy_corpus, tmp_path):
    results = killed_and_not(
        tmp_path,
        "MiniSpeech/boundaries",
        "next_frame",
        12,
        (
            *(x for x in PRETRAINING[1:] if not x.startswith("--attack")),
            *own_corpus(toy_corpus),
        ),
    )
    assert_equal(*results)


def test_a_kill_before_the_cost_is_written(toy_corpus, tmp_path):
    """Between the last checkpoint of a generation and efficiency.json."""
    arguments = (
        "MiniSpeech/self-supervised-learning/hubert",
        "hubert",
        *PRETRAINING,
        "--robust=both",
        "--n_clusters=6",
        *own_corpus(toy_corpus),
        f"--output_folder={tmp_path}",
    )
    costs = [
        tmp_path / folder / "efficiency.json" for folder in ("generation-1", "")
    ]
    flops, later = [], None
    for _ in range(2):
        done = run(*arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        trained, later = later, json.loads(costs[1].read_text())
        flops.append([json.loads(path.read_text())["flops"] for path in costs])
        for path in costs:
            path.unlink()
    # The second generation's cost has the first's in it, and the clusters'.
    assert trained["before"] == later["before"]
    assert trained["before"].keys() == {"teacher", "units"}
    assert trained["before"]["teacher"]["flops"] == flops[0][0]
    assert trained["before"]["units"]["flops"] > 0
    # What the process that trained used is not known to this one.
    assert "peak_memory_bytes" in trained and "peak_memory_bytes" not in later
    assert flops[0] == flops[1] and flops[0][1] > flops[0][0] > 0
