"""What eight adversaries cost a training step, in time and memory.

Plain and adversarial steps alternate in one process on the same batch: the
AN4 recipe's Conformer and CTC, and the eight utterance-level members of
``hparams/adversaries/speaker_gender.yaml``. Memory is what a step takes above
the process's level before it (peak resident set, Linux).

> python benchmarks/adversary_overhead.py [--seconds 16] [--threads 2]

Prints the raw medians, then ``ratio time`` (goal: at most 1.25) and ``ratio
memory`` (goal: at most 1.15).
"""

import argparse
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml
from measuring import measure_memory, measure_time

from speechbrain_privacy.lobes.conformer import ConformerLobe

ROOT = Path(__file__).parents[1]
N_SPEAKERS, N_TOKENS, SIZE = 58, 30, 144


def make_steps(seconds):
    """The two steps as functions without arguments."""
    torch.manual_seed(0)
    encoder = ConformerLobe(80, d_model=SIZE, kernel_size=15)
    head = torch.nn.Linear(SIZE, N_TOKENS)
    block = ROOT / "hparams/adversaries/speaker_gender.yaml"
    with open(block, encoding="utf-8") as file:
        adversaries = load_hyperpyyaml(file)["ensemble"]
    adversaries.set_classes({"spk_id": N_SPEAKERS, "gender": 2})
    n_items = max(2, round(seconds / 2.7))
    feats = torch.randn(n_items, 270, 80)
    lengths = torch.linspace(0.8, 1.0, n_items)
    tokens = torch.randint(1, N_TOKENS, (n_items, 15))
    labels = {
        "spk_id": torch.randint(0, N_SPEAKERS, (n_items,)),
        "gender": torch.randint(0, 2, (n_items,)),
    }
    modules = torch.nn.ModuleList([encoder, head, adversaries])

    def step(attacked):
        hidden, relative = encoder(feats, lengths)
        log_probs = head(hidden).log_softmax(2).transpose(0, 1)
        frames = (relative * len(log_probs)).round().long()
        n_tokens = torch.full((n_items,), tokens.shape[1])
        loss = torch.nn.functional.ctc_loss(
            log_probs, tokens, frames, n_tokens, zero_infinity=True
        )
        if attacked:
            loss = loss + adversaries(hidden, relative, labels).loss
        loss.backward()
        modules.zero_grad(set_to_none=True)

    return {"plain": lambda: step(False), "adversarial": lambda: step(True)}


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = make_steps(options.seconds)
    seconds = measure_time(steps, options.repeats)
    memory = measure_memory(steps, options.repeats)
    for name in steps:
        print(f"{name}: {1000 * seconds[name]:.1f} ms, {memory[name]:.1f} MiB")
    print(f"ratio time {seconds['adversarial'] / seconds['plain']:.3f}")
    print(f"ratio memory {memory['adversarial'] / memory['plain']:.3f}")


if __name__ == "__main__":
    main()
