"""Adversaries at several layers of one model."""

import pytest
import torch
from speechbrain.utils.epoch_loop import EpochCounter

from speechbrain_privacy.brains.adversarial import AdversarialBrain
from speechbrain_privacy.nnet.adversaries import Adversary, AdversaryEnsemble
from speechbrain_privacy.nnet.schedules import WarmupCosine
from speechbrain_privacy.nnet.tapped import TappedAdversaries

UNBATCHED = {"train_loader_kwargs": {"batch_size": None}}
TAPS = {"early": "encoder.layers.0", "late": "encoder"}


class Layers(torch.nn.Module):
    """Two layers; the second gives a tuple and learns at half the rate."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            [torch.nn.Linear(5, 4), torch.nn.Linear(4, 4)]
        )

    def forward(self, x):
        return self.layers[1](self.layers[0](x).tanh()), None

    def lr_factors(self):
        return [(0.5, list(self.layers[1].parameters()))]


class Toy(AdversarialBrain):
    """The task is to be small."""

    def compute_forward(self, batch, stage):
        x, speakers = batch
        hidden, _ = self.modules.encoder(x)
        lengths = torch.ones(len(x))
        return hidden, self.attack(hidden, lengths, {"spk_id": speakers}, stage)

    def compute_objectives(self, outputs, batch, stage):
        return outputs[0].square().mean() + outputs[1].loss


def make(taps=TAPS, weights=None):
    torch.manual_seed(3)
    weights = weights or {"early": 0.4, "late": 0.7}
    return {
        "encoder": Layers(),
        "adversaries": TappedAdversaries(
            ensembles={
                name: AdversaryEnsemble(
                    [Adversary(4, n_classes=3, hidden=[6])],
                    weights={"spk_id": weight},
                )
                for name, weight in weights.items()
            },
            taps=taps,
        ),
    }


def batch():
    draw = torch.Generator().manual_seed(11)
    return (
        torch.randn(4, 7, 5, generator=draw),
        torch.randint(0, 3, (4,), generator=draw),
    )


def trained(modules, lr=0.1, max_grad_norm=1e9, **settings):
    brain = Toy(
        modules=modules,
        optimizers={
            "model": lambda p: torch.optim.SGD(p, lr),
            "adversaries": lambda p: torch.optim.SGD(p, lr),
        },
        epoch_counter=EpochCounter(1),
        run_opts={
            "device": "cpu",
            "noprogressbar": True,
            "max_grad_norm": max_grad_norm,
        },
        **settings,
    )
    brain.fit(brain.epoch_counter, [batch()], **UNBATCHED)
    return brain


def test_each_layer_gets_the_reversed_gradients_of_its_own_attackers():
    before = make()
    encoder, adversaries = before["encoder"], before["adversaries"]
    x, speakers = batch()
    first = encoder.layers[0](x)
    last = encoder.layers[1](first.tanh())
    task = last.square().mean()
    wanted = {}
    for name, p in encoder.named_parameters():
        (grad,) = torch.autograd.grad(task, p, retain_graph=True)
        for tap, hidden, weight in (("early", first, 0.4), ("late", last, 0.7)):
            member = adversaries.ensembles[tap].members["0_spk_id"]
            loss = member(hidden, torch.ones(4), speakers).loss
            (theirs,) = torch.autograd.grad(
                loss, p, retain_graph=True, allow_unused=True
            )
            grad = grad - weight * (0.0 if theirs is None else theirs)
        wanted[name] = grad
    after = dict(trained(make()).modules["encoder"].named_parameters())
    for name, p in encoder.named_parameters():
        # The upper layer's factor is a half.
        rate = 0.05 if name.startswith("layers.1") else 0.1
        assert torch.allclose(
            p - after[name], rate * wanted[name], atol=1e-6
        ), name


def test_rates_follow_the_schedule_of_their_role():
    brain = trained(
        make(), lr_schedules={"model": WarmupCosine(warmup=0.0, floor=0.2)}
    )
    assert set(brain.optimizers_dict) == {"model", "adversaries"}
    brain.epoch, brain.step = 2, 1  # past the end of training
    rates = brain.learning_rates()
    assert rates == pytest.approx({"model": 0.02, "adversaries": 0.1})
    groups = brain.optimizers_dict["model"].param_groups
    assert [g["lr"] for g in groups] == pytest.approx([0.02, 0.01])


def test_a_role_is_clipped_as_a_whole():
    before = [p.clone() for p in make()["encoder"].parameters()]
    modules = make(weights={"early": 0.0, "late": 0.0})
    modules["encoder"].lr_factors = lambda: [
        (1.0 + 1e-6 * i, [p])
        for i, p in enumerate(modules["encoder"].parameters())
    ]
    brain = trained(modules, lr=1.0, max_grad_norm=1e-3)
    after = brain.modules["encoder"].parameters()
    moved = sum(((a - b) ** 2).sum() for a, b in zip(after, before)) ** 0.5
    assert float(moved.detach()) == pytest.approx(1e-3, rel=1e-3)


def test_extra_steps_of_the_adversaries_reach_no_encoder():
    modules = make(weights={"early": 0.0, "late": 0.0})
    plain = trained(make(weights={"early": 0.0, "late": 0.0}))
    more = trained(modules, adversary_steps=3)
    for a, b in zip(
        plain.modules["encoder"].parameters(),
        more.modules["encoder"].parameters(),
    ):
        assert torch.allclose(a, b, atol=1e-7)
    a, b = (
        next(some.modules["adversaries"].parameters()) for some in (plain, more)
    )
    assert not torch.allclose(a, b)


def test_taps_that_are_not_there_or_do_not_fit_are_named():
    with pytest.raises(ValueError, match="no module 'encoder.layers.9'"):
        trained(make({"early": "encoder.layers.9", "late": "encoder"}))
    with pytest.raises(ValueError, match="needs a tap of its name"):
        TappedAdversaries({"a": AdversaryEnsemble()}, {"b": "encoder"})
    modules = make({"early": "aside", "late": "encoder"})
    with pytest.raises(ValueError, match="'aside' did not run"):
        trained({**modules, "aside": torch.nn.Identity()})


def test_frames_of_another_rate_are_named():
    class Slower(Layers):
        def forward(self, x):
            return super().forward(x)[0][:, ::2], None

    modules = {**make(), "encoder": Slower()}
    with pytest.raises(ValueError, match=r"'early'.*\[4, 7, 4\].*\[4, 4, 4\]"):
        trained(modules)


def test_members_are_renewed_in_every_ensemble():
    adversaries = make()["adversaries"]
    for ensemble in adversaries.ensembles.values():
        ensemble.reinit_every = 2
    before = [p.clone() for p in adversaries.parameters()]
    assert adversaries.reinitialise(1) == []
    renewed = adversaries.reinitialise(2, seed=5)
    assert len(renewed) == len(before)
    early, late = (
        e.members["0_spk_id"].output.weight
        for e in adversaries.ensembles.values()
    )
    assert not any(torch.equal(early, weight) for weight in before)
    assert not torch.equal(early, late)
