"""A run that is killed comes back as if nothing had happened."""

import random

import pytest
import torch

from tests.integration.recipes import TINY, own_corpus, run

#: Dropout, speed perturbation, SpecAugment, accumulation over four batches
#: (which does not divide the epoch's six), renewed adversaries, extra steps.
OPTIONS = (
    "--number_of_epochs=2",
    "--augment_from=0.0",
    "--grad_accumulation_factor=4",
    "--ckpt_interval_minutes=0",
    "--ckpt_interval_steps=1",
    "--adversary={reinit_every: 2, combination: sampled}",
    "--adversary_steps=2",
)

#: Dies before the batch at the given place, counted over the whole run.
IN_STEP = """
import os, signal
from speechbrain_privacy.brains.ctc import CTCBrain
fit_batch = CTCBrain.fit_batch
def dying(self, batch):
    assert self.batches_in_epoch == 6
    if (self.epoch - 1) * self.batches_in_epoch + self.step == {}:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit_batch(self, batch)
CTCBrain.fit_batch = dying
"""
#: Dies while it writes the given parameter file.
IN_SAVE = """
import os, signal, torch
from speechbrain.utils import checkpoints
save, calls = checkpoints.DEFAULT_SAVE_HOOKS[torch.nn.Module], []
def dying(module, path):
    calls.append(path)
    if len(calls) == {}:
        path.write_bytes(b"half a file")
        os.kill(os.getpid(), signal.SIGKILL)
    return save(module, path)
checkpoints.DEFAULT_SAVE_HOOKS[torch.nn.Module] = dying
"""
N_BATCHES = 6  # in each of 2 epochs


def train(toy_corpus, output, before="", check=True):
    done = run(
        "MiniSpeech/ASR/CTC",
        "conformer_adversarial",
        *TINY,
        *OPTIONS,
        *own_corpus(toy_corpus),
        f"--output_folder={output}",
        before=before,
    )
    if check:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done


def outcome(output):
    """Weights, optimizer moments and log of a finished run."""
    (last,) = (output / "save").glob("CKPT*")
    tensors = {}
    for path in sorted(last.glob("*.ckpt")):
        if (
            path.stem in ("encoder", "head", "adversaries")
            or "optim" in path.stem
        ):
            tensors[path.stem] = torch.load(path, weights_only=True)
    assert len(tensors) == 5
    return tensors, (output / "train_log.txt").read_text()


def assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_equal(x, y)
    else:
        assert a == b


@pytest.fixture(scope="module")
def uninterrupted(toy_corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    train(toy_corpus, output)
    return outcome(output)


def test_killed_at_random_steps(toy_corpus, uninterrupted, tmp_path):
    weights, log = uninterrupted
    # Within the first group of the second epoch (so that the first epoch's
    # end is the last checkpoint), and somewhere in its last, partial group
    # (after a checkpoint in mid-epoch); before that anywhere.
    steps = [
        random.Random().randint(1, N_BATCHES),
        N_BATCHES + 3,
        N_BATCHES + 6,
    ]
    print("killed before the batches", steps)
    for step in steps:
        killed = train(toy_corpus, tmp_path, IN_STEP.format(step), check=False)
        assert killed.returncode == -9, killed.stdout[-3000:]
    train(toy_corpus, tmp_path)
    again = outcome(tmp_path)
    assert_equal(weights, again[0])
    assert log == again[1]


def test_killed_while_a_checkpoint_is_written(
    toy_corpus, uninterrupted, tmp_path
):
    # Three modules in a checkpoint: the second one is left incomplete.
    killed = train(toy_corpus, tmp_path, IN_SAVE.format(5), check=False)
    assert killed.returncode == -9, killed.stdout[-3000:]
    train(toy_corpus, tmp_path)
    again = outcome(tmp_path)
    assert_equal(uninterrupted[0], again[0])
    assert uninterrupted[1] == again[1]
