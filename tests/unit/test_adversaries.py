import math

import pytest
import torch
import torch.nn.functional as F
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_privacy.nnet.adversaries import AdversaryEnsemble
from speechbrain_privacy.nnet.adversary import Adversary, Spliced, segments
from speechbrain_privacy.nnet.schedules import Constant, WarmUp

SIZE = 6
SPEAKERS = torch.tensor([0, 1, 2, 0])
LABELS = {"spk_id": SPEAKERS, "gender": torch.tensor([0, 1, -1, 0])}


def members(**settings):
    return {
        "stats": Adversary(SIZE, n_classes=3, hidden=[5], **settings),
        "tdnn": Adversary(SIZE, n_classes=3, channels=[4], pooling="mean"),
        "margin": Adversary(SIZE, n_classes=3, objective="aam"),
        "pairs": Adversary(SIZE, objective="pairs", hidden=[4], segment=5),
        "frames": Adversary(SIZE, n_classes=3, level="frame", channels=[4]),
        "gender": Adversary(SIZE, "gender", n_classes=2, pooling="max"),
    }


@pytest.fixture
def batch():
    hidden = torch.randn(4, 11, SIZE, requires_grad=True)
    return hidden, torch.tensor([1.0, 0.6, 0.9, 0.3])


def expected_gradient(ensemble, hidden, lengths, strengths):
    """-sum_k w_k * gradient of member k alone, each computed on its own."""
    total = torch.zeros_like(hidden)
    for name, member in ensemble.members.items():
        clean = hidden.detach().requires_grad_()
        loss = member(clean, lengths, LABELS[member.attribute]).loss
        (gradient,) = torch.autograd.grad(loss, clean)
        total -= strengths[name] * gradient
    return total


def test_encoder_gets_minus_weighted_attacker_gradients(batch):
    hidden, lengths = batch
    ensemble = AdversaryEnsemble(
        members(),
        weights={"spk_id": 0.3, "gender": 0.7},
        schedule=Constant(0.5),
    ).eval()  # evaluation mode: no random segments
    ensemble(hidden, lengths, LABELS).loss.backward()
    strengths = dict.fromkeys(ensemble.members, 0.5 * 0.3 / 5)
    strengths["gender"] = 0.5 * 0.7
    expected = expected_gradient(ensemble, hidden, lengths, strengths)
    assert torch.allclose(hidden.grad, expected, atol=1e-7)
    assert hidden.grad.abs().max() > 1e-4


def test_worst_combination_follows_the_soft_maximum(batch):
    hidden, lengths = batch
    ensemble = AdversaryEnsemble(
        {
            "a": Adversary(SIZE, n_classes=3, weight=2.0),
            "b": Adversary(SIZE, n_classes=3, pooling="mean"),
        },
        combination="worst",
        temperature=0.2,
    ).eval()
    out = ensemble(hidden, lengths, LABELS)
    out.loss.backward()
    relative = torch.stack([out.members[n].loss for n in "ab"]) / math.log(3)
    relative = relative.clamp(max=1.0)
    share = torch.tensor([2.0, 1.0]) * (-relative / 0.2).exp()
    share = (share / share.sum()).detach()
    strengths = {"a": share[0].item(), "b": share[1].item()}
    expected = expected_gradient(ensemble, hidden, lengths, strengths)
    assert torch.allclose(hidden.grad, expected, atol=1e-6)


def test_worse_than_guessing_counts_as_guessing(batch):
    hidden, lengths = batch
    names = {"aam": "aam", "classify": "classify"}
    ensemble = AdversaryEnsemble(
        {
            name: Adversary(SIZE, n_classes=3, objective=objective, scale=50.0)
            for name, objective in names.items()
        },
        combination="worst",
    ).eval()
    out = ensemble(hidden, lengths, LABELS)
    assert out.members["aam"].loss > 3 * math.log(3)  # sure, and wrong
    assert ensemble._failure("aam", out.members["aam"]) == 1.0
    pairs = Adversary(SIZE, objective="pairs", segment=5)
    lonely = AdversaryEnsemble({"pairs": pairs}, combination="worst")
    one = torch.tensor([0, -1, -1, -1])
    out = lonely(hidden, lengths, {"spk_id": one})
    assert out.members["pairs"].loss == 0.0
    assert lonely._failure("pairs", out.members["pairs"]) == 1.0


def test_a_sure_margin_member_has_finite_gradients_in_bfloat16():
    member = Adversary(
        4, n_classes=2, objective="aam", hidden=[], pooling="mean"
    )
    with torch.no_grad():
        member.output.weight.copy_(torch.eye(4)[:2])
    hidden = torch.eye(4)[:2].unsqueeze(1).repeat(1, 5, 1).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = member(hidden, torch.ones(2), torch.tensor([0, 1])).loss
    loss.backward()
    assert torch.isfinite(hidden.grad).all()
    assert torch.isfinite(member.output.weight.grad).all()


def test_progress_can_be_given_with_the_batch(batch):
    hidden, lengths = batch
    ensemble = AdversaryEnsemble(
        [Adversary(SIZE, n_classes=3)], schedule=WarmUp(0.0, 0.5)
    ).eval()
    ensemble(hidden, lengths, LABELS, progress=0.25)
    assert ensemble.multiplier == 0.5


def test_sampled_reaches_the_encoder_through_one_member_but_trains_all(batch):
    hidden, lengths = batch
    ensemble = AdversaryEnsemble(
        {
            "a": Adversary(SIZE, n_classes=3),
            "b": Adversary(SIZE, n_classes=3, pooling="mean"),
        },
        combination="sampled",
    )
    picked = set()
    for seed in range(12):
        torch.manual_seed(seed)
        hidden.grad = None
        ensemble.zero_grad()
        ensemble(hidden, lengths, LABELS).loss.backward()
        matches = [
            name
            for name in "ab"
            if torch.allclose(
                hidden.grad,
                expected_gradient(
                    ensemble,
                    hidden,
                    lengths,
                    {"a": float(name == "a"), "b": float(name == "b")},
                ),
                atol=1e-7,
            )
        ]
        assert len(matches) == 1
        picked.update(matches)
        assert all(p.grad.abs().sum() > 0 for p in ensemble.parameters())
    assert picked == {"a", "b"}


def test_members_learn_at_full_strength_whatever_the_weights(batch):
    hidden, lengths = batch
    gradients = []
    ensemble = AdversaryEnsemble([Adversary(SIZE, n_classes=3)])
    for weight in (0.0, 5.0):
        ensemble.weights = {"spk_id": weight}
        ensemble.zero_grad()
        ensemble(hidden, lengths, LABELS).loss.backward()
        gradients.append([p.grad.clone() for p in ensemble.parameters()])
    for a, b in zip(*gradients):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", list(members()))
def test_unknown_labels_change_nothing(name, batch):
    hidden, lengths = batch
    member = members()[name].eval()
    labels = torch.tensor([0, 1, -1, 1])
    kept = labels >= 0
    full = member(hidden, lengths, labels)
    # The same utterances without the unlabelled one.
    some = member(hidden[kept], lengths[kept], labels[kept])
    assert torch.allclose(full.loss, some.loss, atol=1e-6)
    assert full.count == some.count == 3
    if full.correct is not None:
        assert full.correct == some.correct


@pytest.mark.parametrize("name", list(members()))
def test_a_batch_without_labels_costs_nothing_but_touches_every_weight(
    name, batch
):
    hidden, lengths = batch
    member = members()[name]
    out = member(hidden, lengths, torch.full((4,), -1))
    assert out.loss.item() == 0.0 and out.count.item() == 0
    out.loss.backward()
    for parameter in member.parameters():  # DDP needs them all
        assert parameter.grad is not None and not parameter.grad.any()


def test_margin_zero_is_a_cosine_softmax(batch):
    hidden, lengths = batch
    member = Adversary(
        SIZE, n_classes=3, objective="aam", margin=0.0, scale=7.0
    ).eval()
    counts = (lengths * 11).round().long()
    mask = torch.arange(11) < counts.unsqueeze(1)
    embedding = member.embed(hidden, mask)
    cos = F.cosine_similarity(
        embedding.unsqueeze(1), member.output.weight.unsqueeze(0), dim=2
    )
    expected = F.cross_entropy(7.0 * cos, SPEAKERS)
    found = member(hidden, lengths, SPEAKERS).loss
    assert torch.allclose(found, expected, atol=1e-4)
    member.margin = 0.3
    assert member(hidden, lengths, SPEAKERS).loss > found


def test_pairs_loss_matches_a_loop():
    member = Adversary(SIZE, objective="pairs", hidden=[4], segment=5).eval()
    hidden, labels = torch.randn(3, 10, SIZE), torch.tensor([0, 1, 0])
    full = torch.ones(3, 5, dtype=torch.bool)
    z = F.normalize(
        torch.cat(
            [
                member.embed(hidden[:, :5], full),
                member.embed(hidden[:, 5:], full),
            ]
        ),
        dim=1,
    )
    who = labels.repeat(2)
    losses = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        total = sum(torch.exp(member.scale * z[i] @ z[j]) for j in others)
        same = [j for j in others if who[j] == who[i]]
        losses.append(
            -sum(member.scale * z[i] @ z[j] - total.log() for j in same)
            / len(same)
        )
    found = member(hidden, torch.ones(3), labels).loss
    assert torch.allclose(found, torch.stack(losses).mean(), atol=1e-5)


@pytest.mark.parametrize("name", list(members()))
def test_padding_does_not_reach_a_member(name, batch):
    hidden, lengths = batch
    member = members()[name].eval()
    counts = (lengths * 11).round().long()
    padding = torch.arange(11) >= counts.unsqueeze(1)
    dirty = hidden.detach().masked_fill(padding.unsqueeze(2), 50.0)
    labels = LABELS[member.attribute]
    a = member(hidden, lengths, labels).loss
    b = member(dirty, lengths, labels).loss
    assert torch.allclose(a, b, atol=1e-5)


def test_segments_stay_inside_the_utterance():
    x = torch.arange(40.0).reshape(2, 20, 1)
    counts = torch.tensor([20, 3])
    starts = set()
    for _ in range(200):
        cut, mask = segments(x, counts, 5)
        first = cut[0, :, 0]
        assert torch.equal(first, first[0] + torch.arange(5.0))
        assert mask.sum(1).tolist() == [5, 3]
        assert cut[1, :3, 0].tolist() == [20.0, 21.0, 22.0]
        starts.add(int(first[0]))
    assert starts == set(range(16))


def test_reinitialisation_takes_turns_and_depends_on_step_and_seed_only():
    ensemble = AdversaryEnsemble(
        {
            "a": Adversary(SIZE, n_classes=3),
            "b": Adversary(SIZE, n_classes=3, objective="aam"),
        },
        reinit_every=10,
    )

    def weights(name):
        member = ensemble.members[name]
        return torch.cat([p.detach().flatten() for p in member.parameters()])

    assert ensemble.reinitialise(0) == []
    assert ensemble.reinitialise(9) == []
    before = {name: weights(name) for name in "ab"}
    state = torch.random.get_rng_state()
    renewed = ensemble.reinitialise(10, seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert {id(p) for p in renewed} == {
        id(p) for p in ensemble.members["a"].parameters()
    }
    assert not torch.equal(before["a"], weights("a"))
    assert torch.equal(before["b"], weights("b"))
    first = weights("a")
    torch.rand(7)
    ensemble.reinitialise(10, seed=3)
    assert torch.equal(first, weights("a"))
    ensemble.reinitialise(20, seed=3)
    assert not torch.equal(before["b"], weights("b"))
    assert torch.equal(first, weights("a"))


@pytest.mark.parametrize("against", [["gender"], ["spk_id"], []])
def test_members_on_other_attributes_are_left_out(batch, against):
    hidden, lengths = batch
    every = members()
    ensemble = AdversaryEnsemble(
        every, {"spk_id": 0.5, "gender": 0.25}, against=against
    )
    own = {n for n, m in every.items() if m.attribute in against}
    assert set(ensemble.members) == own
    assert ensemble.attributes == against
    assert set(ensemble.weights) == set(against)
    labels = {name: LABELS[name] for name in against}
    assert set(ensemble(hidden, lengths, labels).members) == own


def test_an_empty_ensemble_is_a_plain_model(batch):
    hidden, lengths = batch
    out = AdversaryEnsemble()(hidden, lengths, {})
    assert out.loss.item() == 0.0 and out.members == {}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Adversary(4, objective="guess"), "guess"),
        (lambda: Adversary(4, level="word"), "word"),
        (lambda: Adversary(4, level="frame", objective="aam"), "frame"),
        (lambda: Adversary(4, n_classes=1), "at least two"),
        (lambda: Adversary(4, weight=-1), ">= 0"),
        (lambda: Spliced(4, 4, width=2), "odd"),
        (lambda: AdversaryEnsemble(combination="best"), "best"),
        (lambda: AdversaryEnsemble([Adversary(4, weight=0)]), "weight 0"),
        (
            lambda: AdversaryEnsemble([Adversary(4)], weights={"age": 1}),
            "age",
        ),
        (
            lambda: AdversaryEnsemble([Adversary(4)], weights={"spk_id": -1}),
            ">= 0",
        ),
        (
            lambda: AdversaryEnsemble([Adversary(4)], against=["age"]),
            "no member attacks .'age'",
        ),
        (
            lambda: AdversaryEnsemble([Adversary(4)]).set_classes({"age": 3}),
            "spk_id",
        ),
    ],
)
def test_impossible_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_missing_classes_and_labels_are_named(batch):
    hidden, lengths = batch
    ensemble = AdversaryEnsemble([Adversary(SIZE)])
    with pytest.raises(RuntimeError, match="spk_id"):
        ensemble(hidden, lengths, LABELS)
    ensemble.set_classes({"spk_id": 3})
    with pytest.raises(KeyError, match="spk_id"):
        ensemble(hidden, lengths, {"gender": LABELS["gender"]})


@pytest.mark.parametrize("objective", ["classify", "aam", "pairs"])
def test_an_adversary_learns_a_planted_speaker(objective):
    member = Adversary(
        SIZE, n_classes=3, objective=objective, channels=[8], segment=8
    )
    optimizer = torch.optim.Adam(member.parameters(), 0.02)
    who = torch.arange(12) % 3
    losses = []
    for _ in range(60):
        hidden = torch.randn(12, 16, SIZE)
        hidden[:, :, 0] += 2.0 * who.unsqueeze(1)
        loss = member(hidden, torch.ones(12), who).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # With 7 equally near positives the pairs loss cannot fall below log 7.
    floor = math.log(7) if objective == "pairs" else 0.0
    above = [loss - floor for loss in losses]
    assert sum(above[-5:]) < 0.6 * sum(above[:5])


def test_labels_may_have_the_axis_that_encoders_give_them(batch):
    member = Adversary(SIZE, n_classes=3).eval()
    flat = member(*batch, SPEAKERS).loss
    assert torch.equal(member(*batch, SPEAKERS.unsqueeze(1)).loss, flat)
    with pytest.raises(ValueError, match="labels; got"):
        member(*batch, SPEAKERS.repeat(2, 1).T)


def test_a_plain_model_saves_its_missing_attackers_in_silence(tmp_path, caplog):
    for members in ((), [Adversary(4, "spk_id", n_classes=3, channels=[4])]):
        ensemble = AdversaryEnsemble(members)
        saver = Checkpointer(tmp_path / str(len(members)), {"a": ensemble})
        saver.save_checkpoint()
        kept = {n: x.clone() for n, x in ensemble.state_dict().items()}
        for x in ensemble.parameters():
            torch.nn.init.zeros_(x)
        assert saver.recover_if_possible() is not None
        now = ensemble.state_dict()
        assert now.keys() == kept.keys()
        assert all(torch.equal(now[name], kept[name]) for name in kept)
    assert "empty" not in caplog.text
