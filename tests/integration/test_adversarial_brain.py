"""What adversarial training does to what it trains."""

import pytest
import speechbrain as sb
import torch
from speechbrain.utils.epoch_loop import EpochCounter

from speechbrain_privacy.brains.adversarial import AdversarialBrain
from speechbrain_privacy.nnet.adversaries import Adversary, AdversaryEnsemble
from speechbrain_privacy.nnet.schedules import WarmUp, WarmupCosine

N_SPEAKERS = 4
#: The items of the data set are batches already.
UNBATCHED = {"train_loader_kwargs": {"batch_size": None}}


class Toy(AdversarialBrain):
    """Frames hold a word and a speaker; the task is the word."""

    def compute_forward(self, batch, stage):
        x, words, speakers = batch
        hidden = self.modules.encoder(x)
        attack = self.attack(
            hidden, torch.ones(len(x)), {"spk_id": speakers}, stage
        )
        return self.modules.head(hidden.mean(1)), attack

    def compute_objectives(self, outputs, batch, stage):
        logits, attack = outputs
        loss = torch.nn.functional.cross_entropy(logits, batch[1])
        return loss + attack.loss if stage == sb.Stage.TRAIN else loss


def batches(n, seed=0):
    rng = torch.Generator().manual_seed(seed)
    some = []
    for _ in range(n):
        words = torch.randint(0, 2, (32,), generator=rng)
        speakers = torch.randint(0, N_SPEAKERS, (32,), generator=rng)
        x = 0.5 * torch.randn(32, 6, 8, generator=rng)
        x[:, :, 0] += 2.0 * words.unsqueeze(1) - 1
        x[torch.arange(32), :, 2 + speakers] += 1.5
        some.append((x, words, speakers))
    return some


def train(weight, frozen=False, **settings):
    torch.manual_seed(1)
    modules = {
        "encoder": torch.nn.Sequential(
            torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4)
        ),
        "head": torch.nn.Linear(4, 2),
        "adversaries": AdversaryEnsemble(
            [
                Adversary(4, n_classes=N_SPEAKERS, hidden=[16]),
                Adversary(4, n_classes=N_SPEAKERS, pooling="mean", hidden=[8]),
            ],
            weights={"spk_id": weight},
            schedule=WarmUp(0.0, 0.3),
            **settings.pop("ensemble", {}),
        ),
    }
    modules["encoder"].requires_grad_(not frozen)
    brain = Toy(
        modules=modules,
        optimizers={
            "model": lambda p: torch.optim.Adam(p, 0.003),
            "adversaries": lambda p: torch.optim.Adam(p, 0.02),
        },
        epoch_counter=EpochCounter(6),
        run_opts={"device": "cpu", "noprogressbar": True},
        **settings,
    )
    brain.fit(brain.epoch_counter, batches(40), **UNBATCHED)
    return brain


@torch.no_grad()
def word_accuracy(brain):
    brain.modules.eval()
    right = [
        (brain.modules.head(brain.modules.encoder(x).mean(1)).argmax(1) == w)
        for x, w, _ in batches(10, seed=5)
    ]
    return torch.cat(right).float().mean().item()


def fresh_attacker_accuracy(brain):
    """A new network on the frozen encoder, tested on new utterances."""
    torch.manual_seed(9)
    member = Adversary(4, n_classes=N_SPEAKERS, hidden=[32])
    optimizer = torch.optim.Adam(member.parameters(), 0.01)

    def attack(x, speakers):
        with torch.no_grad():
            hidden = brain.modules.encoder(x)
        return member(hidden, torch.ones(len(x)), speakers)

    for _ in range(4):
        for x, _, speakers in batches(40, seed=7):
            optimizer.zero_grad()
            attack(x, speakers).loss.backward()
            optimizer.step()
    member.eval()
    with torch.no_grad():
        found = [attack(x, s) for x, _, s in batches(10, seed=5)]
    return sum(f.correct for f in found) / sum(f.count for f in found)


def test_the_speaker_is_hidden_from_an_attacker_it_never_met():
    plain, private = train(0.0), train(1.0, adversary_steps=2)
    assert word_accuracy(plain) > 0.95
    assert word_accuracy(private) > 0.95
    assert fresh_attacker_accuracy(plain) > 0.6
    assert fresh_attacker_accuracy(private) < 0.4  # chance is 0.25


def test_one_optimizer_per_role_with_one_group():
    brain = train(0.5)
    assert set(brain.optimizers_dict) == {"model", "adversaries"}
    for role, optimizer in brain.optimizers_dict.items():
        assert len(optimizer.param_groups) == 1
        held = {id(p) for p in optimizer.param_groups[0]["params"]}
        named = brain.role_parameters()[role]
        assert held == {id(p) for p in named}
    # Nothing accumulates between steps, in any role.
    assert all(p.grad is None for p in brain.modules.parameters())


def test_renewed_members_lose_their_optimizer_state():
    brain = train(0.5, ensemble={"reinit_every": 120})
    # 240 steps: the first member was renewed at 120, the second at 240.
    state = brain.optimizers_dict["adversaries"].state
    first, second = brain.modules.adversaries.members.values()
    steps = {int(state[p]["step"]) for p in first.parameters()}
    assert steps == {120}
    assert all(p not in state for p in second.parameters())


def test_extra_adversary_steps_leave_the_model_alone():
    brain = train(0.0, adversary_steps=3)
    plain = train(0.0)
    for a, b in zip(
        brain.modules.encoder.parameters(), plain.modules.encoder.parameters()
    ):
        assert torch.equal(a, b)
    steps = {
        int(s["step"])
        for s in brain.optimizers_dict["adversaries"].state.values()
    }
    assert steps == {3 * 240}


@pytest.mark.parametrize("frozen", [False, True])
def test_adversaries_of_what_does_not_learn_are_a_mistake(frozen, caplog):
    train(1.0, frozen=frozen)
    said = [r.message for r in caplog.records if "does not learn" in r.message]
    assert len(said) == frozen  # once, or never


def test_learning_rates_follow_progress_alone():
    brain = train(0.0, lr_schedules={"model": WarmupCosine(warmup=0.5)})
    brain.epoch, brain.step, brain.batches_in_epoch = 3, 21, 40
    assert brain.progress == pytest.approx(2.5 / 6)
    rates = brain.learning_rates()
    assert rates["model"] == pytest.approx(0.003 * (2.5 / 6) / 0.5)
    assert rates["adversaries"] == 0.02


def test_a_loss_that_is_not_finite_stops_before_the_weights(tmp_path):
    brain = train(0.0)
    before = [p.clone() for p in brain.modules.parameters()]
    x, words, speakers = batches(1)[0]
    brain.epoch_counter = EpochCounter(1)
    with pytest.raises(ValueError, match="the loss is nan in epoch 1, batch 1"):
        brain.fit(
            brain.epoch_counter,
            [(x * float("nan"), words, speakers)],
            **UNBATCHED,
        )
    for a, b in zip(before, brain.modules.parameters()):
        assert torch.equal(a, b)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="adversary_steps"):
        Toy({}, optimizers={}, epoch_counter=EpochCounter(1), adversary_steps=0)
    brain = Toy(
        {"encoder": torch.nn.Linear(1, 1)},
        optimizers={},
        epoch_counter=EpochCounter(1),
    )
    with pytest.raises(KeyError, match="role 'model'"):
        brain.init_optimizers()
