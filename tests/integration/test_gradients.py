"""What the optimizer of the encoder is given, exactly."""

import subprocess
import sys

import pytest
import torch
from speechbrain.utils.epoch_loop import EpochCounter

from speechbrain_privacy.brains.adversarial import AdversarialBrain
from speechbrain_privacy.nnet.adversaries import Adversary, AdversaryEnsemble
from tests.conftest import ROOT

#: The items of the data set are batches already.
UNBATCHED = {"train_loader_kwargs": {"batch_size": None}}
WEIGHTS = {"spk_id": 0.6, "gender": 0.2}


class Recorder(torch.optim.SGD):
    """Keeps the gradients that it was asked to apply; moves nothing."""

    def __init__(self, params, lr=0.0):
        super().__init__(params, lr=lr)
        self.seen = []

    def step(self, closure=None):
        self.seen.append(
            [p.grad.clone() for g in self.param_groups for p in g["params"]]
        )


class Linear(AdversarialBrain):
    """A linear encoder with a quadratic task."""

    def compute_forward(self, batch, stage):
        x, speakers, genders = batch
        hidden = self.modules.encoder(x)
        labels = {"spk_id": speakers, "gender": genders}
        return hidden, self.attack(hidden, torch.ones(len(x)), labels, stage)

    def compute_objectives(self, outputs, batch, stage):
        hidden, attack = outputs
        return hidden.square().mean() + attack.loss


def make_modules():
    torch.manual_seed(3)
    return {
        "encoder": torch.nn.Linear(5, 4),
        "adversaries": AdversaryEnsemble(
            [
                Adversary(4, n_classes=3, hidden=[6]),
                Adversary(4, n_classes=3, pooling="mean", channels=[3]),
                Adversary(4, "gender", n_classes=2, pooling="max"),
            ],
            weights=WEIGHTS,
        ),
    }


def make_batches(n):
    rng = torch.Generator().manual_seed(11)
    return [
        (
            torch.randn(4, 7, 5, generator=rng),
            torch.randint(0, 3, (4,), generator=rng),
            torch.randint(0, 2, (4,), generator=rng),
        )
        for _ in range(n)
    ]


def expected(batches):
    """Task gradient - sum_k w_k attacker gradient, averaged over batches."""
    modules = make_modules()
    encoder, ensemble = modules["encoder"], modules["adversaries"]
    total = [torch.zeros_like(p) for p in encoder.parameters()]
    for x, speakers, genders in batches:
        hidden = encoder(x)
        loss = hidden.square().mean()
        for member in ensemble.members.values():
            speaker = member.attribute == "spk_id"
            labels = speakers if speaker else genders
            share = WEIGHTS[member.attribute] / (2 if speaker else 1)
            attacked = member(hidden, torch.ones(len(x)), labels).loss
            loss = loss - share * attacked
        gradients = torch.autograd.grad(loss, list(encoder.parameters()))
        for so_far, gradient in zip(total, gradients):
            so_far += gradient / len(batches)
    return total


def record(batches, accumulation, rank_options=None):
    """Gradients of each encoder step of a real ``fit``.

    Under DDP SpeechBrain gives process r the batches r, r + 2, ...
    """
    optimizers = []

    def recorder(params):
        optimizers.append(Recorder(params))
        return optimizers[-1]

    brain = Linear(
        modules=make_modules(),
        optimizers={"model": recorder, "adversaries": recorder},
        epoch_counter=EpochCounter(1),
        hparams={"sorting": "as they come"},
        run_opts={
            "device": "cpu",
            "noprogressbar": True,
            "max_grad_norm": 1e9,
            "grad_accumulation_factor": accumulation,
            **(rank_options or {}),
        },
    )
    brain.fit(brain.epoch_counter, batches, **UNBATCHED)
    return optimizers[0].seen


def assert_close(found, wanted):
    for a, b in zip(found, wanted):
        assert (a - b).abs().max() < 1e-6
        assert b.abs().max() > 1e-3


def test_one_batch():
    batches = make_batches(1)
    (found,) = record(batches, accumulation=1)
    assert_close(found, expected(batches))


def test_accumulation_with_a_shorter_last_group():
    batches = make_batches(5)
    found = record(batches, accumulation=3)
    assert len(found) == 2
    assert_close(found[0], expected(batches[:3]))
    assert_close(found[1], expected(batches[3:]))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes(tmp_path, accumulation):
    script = tmp_path / "worker.py"
    script.write_text(
        "import sys, torch, torch.distributed as dist\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.integration.test_gradients import make_batches, record\n"
        "dist.init_process_group('gloo')\n"
        "rank = dist.get_rank()\n"
        f"seen = record(make_batches(4), {accumulation},\n"
        "              {'distributed_backend': 'gloo'})\n"
        f"torch.save(seen, {str(tmp_path)!r} + f'/seen{{rank}}.pt')\n"
        "dist.barrier(); dist.destroy_process_group()\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node=2", str(script)),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    batches = make_batches(4)
    steps = [batches[:2], batches[2:]] if accumulation == 1 else [batches]
    for rank in range(2):
        found = torch.load(tmp_path / f"seen{rank}.pt", weights_only=True)
        assert len(found) == len(steps)
        for step, some in zip(found, steps):
            assert_close(step, expected(some))
