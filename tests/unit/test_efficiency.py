"""What training costs, and what an error costs."""

import io
import json
import re
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from speechbrain.utils.epoch_loop import EpochCounter

from speechbrain_privacy.brains.adversarial import AdversarialBrain
from speechbrain_privacy.brains.checkpointing import AtomicCheckpointer
from speechbrain_privacy.brains.energy import EnergyTracker
from speechbrain_privacy.brains.meter import (
    ENERGY,
    EfficiencyMeter,
    parameter_bytes,
    peak_memory,
    write_cost,
)
from speechbrain_privacy.lobes.conformer import ConformerLobe
from speechbrain_privacy.metrics.efficiency import (
    Curve,
    area,
    compare_costs,
    cost_to_target,
)
from speechbrain_privacy.nnet.adversaries import AdversaryEnsemble
from speechbrain_privacy.nnet.operations import (
    FORMULAS,
    counted_flops,
    note_flops,
    spending,
)


def flops_of(function):
    counts = []
    with counted_flops(counts):
        function()
    return counts[0]


def test_counts_by_hand():
    x = torch.randn(5, 7, requires_grad=True)
    layer = torch.nn.Linear(7, 3)
    forward = 2 * 5 * 7 * 3
    assert flops_of(lambda: layer(x)) == forward
    # The gradients of weights and input cost as much again, each.
    assert flops_of(lambda: layer(x).sum().backward()) == 3 * forward
    conv = torch.nn.Conv1d(4, 6, 3, padding=1)
    assert flops_of(lambda: conv(torch.randn(2, 4, 10))) == 2 * 2 * 10 * 6 * 12


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_counts_grouped_convolutions(groups):
    conv = torch.nn.Conv1d(4, 8, 3, padding=1, groups=groups)
    x = torch.randn(2, 4, 10, requires_grad=True)
    forward = 2 * 2 * 10 * 8 * (4 // groups) * 3
    assert flops_of(lambda: conv(x)) == forward
    assert flops_of(lambda: conv(x).sum().backward()) == 3 * forward
    # Nobody asks for the gradient of an input.
    plain = x.detach()
    assert flops_of(lambda: conv(plain).sum().backward()) == 2 * forward
    back = torch.nn.ConvTranspose1d(4, 8, 3, groups=groups)
    forward = 2 * 2 * 10 * 4 * (8 // groups) * 3
    assert flops_of(lambda: back(x).sum().backward()) == 3 * forward


def test_counts_transforms_and_recurrent_layers():
    wav = torch.randn(1, 1600)
    window = torch.hann_window(400)
    found = flops_of(
        lambda: torch.stft(wav, 400, 160, 400, window, return_complex=True)
    )
    assert found == pytest.approx(11 * 2.5 * 400 * np.log2(400), rel=0.01)
    lstm = torch.nn.LSTM(5, 8, batch_first=True)
    forward = flops_of(lambda: lstm(torch.randn(2, 9, 5)))
    assert forward == 2 * 2 * 9 * (4 * 8 * 5 + 4 * 8 * 8)
    both = flops_of(lambda: lstm(torch.randn(2, 9, 5))[0].sum().backward())
    assert both == 3 * forward


def test_a_counted_step_is_the_same_step():
    """To the bit: or a resumed run, which counts others, would differ."""
    lobe = ConformerLobe(20, d_model=16, num_layers=1, d_ffn=16, kernel_size=5)
    feats, lengths = torch.randn(2, 30, 20), torch.tensor([1.0, 0.7])

    def gradients():
        torch.manual_seed(1)
        lobe.zero_grad()
        lobe(feats, lengths)[0].square().sum().backward()
        return [p.grad.clone() for p in lobe.parameters() if p.grad is not None]

    counted = []
    plain = gradients()
    flops_of(lambda: counted.extend(gradients()))
    assert all(map(torch.equal, plain, counted))


def test_some_step_must_be_counted():
    with pytest.raises(ValueError, match="every is 1 step or more"):
        EfficiencyMeter(every=0)


def test_vectors_and_distances():
    x, y = torch.rand(5, 3, requires_grad=True), torch.rand(7, 3)
    assert flops_of(lambda: x @ torch.rand(3)) == 2 * 5 * 3
    line = torch.nn.functional.linear  # of one vector: a sum and products
    assert flops_of(lambda: line(torch.rand(3), x, torch.rand(5))) == 30
    assert flops_of(lambda: torch.dot(torch.rand(9), torch.rand(9))) == 2 * 9
    for p in (1.0, 2.0):
        forward = flops_of(lambda p=p: torch.cdist(x, y, p))
        assert forward == 3 * 5 * 7 * 3
        both = flops_of(lambda p=p: torch.cdist(x, y, p).sum().backward())
        assert both == 2 * forward
    many = torch.rand(40, 3)
    assert flops_of(lambda: torch.cdist(many, many)) == 3 * 40 * 40 * 3


def test_recurrent_layers_of_an_accelerator():
    """As those of the CPU count, for which the same is counted here."""
    layer = torch.nn.LSTM(5, 8, num_layers=2, bidirectional=True)
    x = torch.randn(9, 2, 5)
    weights = [w.detach() for w in layer.parameters()]
    rnn = torch.ops.aten._cudnn_rnn
    found = FORMULAS[rnn](x, weights, 4, out_val=x)
    assert found == flops_of(lambda: layer(x))
    both = flops_of(lambda: layer(x)[0].sum().backward())
    back = FORMULAS[torch.ops.aten._cudnn_rnn_backward]
    assert found + back(x, weights, 4, out_val=x) == both


def test_steps_between_are_extrapolated():
    """Linear layers and attention: linear and square in the length."""
    layer = torch.nn.Linear(4, 4)

    def work(wavs):
        x = layer(wavs.unsqueeze(2).expand(-1, -1, 4))
        return x @ x.transpose(1, 2)

    exact, found = 0, EfficiencyMeter(sample_rate=10, every=10**9)
    torch.manual_seed(0)
    for _ in range(12):
        shape = torch.randint(2, 9, (1,)), torch.randint(10, 60, (1,))
        wavs = torch.randn(*map(int, shape))
        exact += flops_of(lambda wavs=wavs: work(wavs))
        with found.step(wavs, torch.ones(len(wavs))):
            work(wavs)
    totals = found.totals()
    assert totals["steps"] == 12
    assert totals["flops"] == pytest.approx(exact, rel=1e-6)
    assert totals["cpu_seconds"] > 0
    assert totals["wall_seconds"] > 0


@pytest.mark.parametrize(
    ("lengths", "shape"),
    [
        *(((150, 151, 149, 148), x) for x in ((30, 20), (4, 12), (4, 140))),
        *(((150, 150, 20, 20), x) for x in ((10, 30), (4, 60), (4, 20))),
    ],
)
def test_a_step_unlike_all_counted_ones_is_not_billed_by_a_guess(
    lengths, shape
):
    layer = torch.nn.Linear(4, 4)

    def work(wavs):
        x = layer(wavs.unsqueeze(2).expand(-1, -1, 4))
        return x @ x.transpose(1, 2)

    meter = EfficiencyMeter(sample_rate=10, every=10**9)
    for length in lengths:
        with meter.step(wavs := torch.randn(4, length), torch.ones(4)):
            work(wavs)
    before = meter.totals()["flops"]
    wavs = torch.randn(*shape)
    exact = flops_of(lambda: work(wavs))
    with meter.step(wavs, torch.ones(len(wavs))):
        work(wavs)
    assert meter.totals()["flops"] - before == pytest.approx(exact, rel=0.05)


def test_padding_is_no_audio():
    meter = EfficiencyMeter(sample_rate=100)
    with meter.step(torch.zeros(2, 400), torch.tensor([1.0, 0.25])):
        pass
    assert meter.totals()["audio_seconds"] == pytest.approx(5.0)
    assert meter.logged()["audio hours"] == pytest.approx(5 / 3600)
    assert EfficiencyMeter().totals() == {"steps": 0}


def test_counting_is_not_billed(monkeypatch):
    """Every step takes a second, or ten if it is counted."""
    clock = [0.0]
    for name in ("process_time", "perf_counter"):
        monkeypatch.setattr(
            f"speechbrain_privacy.brains.meter.time.{name}", lambda: clock[0]
        )
    meter = EfficiencyMeter(sample_rate=10, every=10**9)
    for i in range(8):
        with meter.step(torch.zeros(1, 20), torch.ones(1)):
            clock[0] += 10.0 if i < 4 else 1.0
    assert meter.totals()["cpu_seconds"] == pytest.approx(8.0)
    assert meter.totals()["wall_seconds"] == pytest.approx(8.0)


def test_totals_survive_a_checkpoint(tmp_path):
    meter, other = EfficiencyMeter(), EfficiencyMeter()
    with meter.step(torch.zeros(1, 16000), torch.ones(1)):
        torch.nn.Linear(3, 3)(torch.rand(2, 3))
    meter.sums.save(tmp_path / "meter")
    other.sums.load(tmp_path / "meter", end_of_epoch=True)
    assert other.totals() == meter.totals()


def test_summary_has_the_size_of_the_model():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    meter = EfficiencyMeter()
    with meter.step(torch.zeros(1, 160), torch.ones(1)):
        pass
    found = meter.summary(model.double())
    assert (found["parameters"], found["parameter_bytes"]) == (11, 88)
    assert parameter_bytes(model.half()) == (11, 22)
    big = torch.ones(30_000_000)
    assert peak_memory() >= big.numel() * 4


def test_cost_to_target_by_hand():
    costs, errors = [1, 10, 100, 1000], [60, 40, 50, 20]
    assert cost_to_target(costs, errors, 70) == 1
    assert cost_to_target(costs, errors, 50) == pytest.approx(10**0.5)
    assert cost_to_target(costs, errors, 40) == pytest.approx(10)
    assert cost_to_target(costs, errors, 35) == pytest.approx(10**2.5)
    assert cost_to_target(costs, errors, 10) == float("inf")


def test_area_by_hand():
    costs, errors = [1, 10, 100], [60, 40, 40]
    assert area(costs, errors, 1, 100) == pytest.approx(45)
    assert area(costs, errors, 10, 100) == pytest.approx(40)
    assert area(costs, errors, 10**0.5, 10) == pytest.approx(45)
    with pytest.raises(ValueError, match="reaches from 1 to 100"):
        area(costs, errors, 1, 1000)


COSTS, ERRORS = (1, 10, 100), (60.0, 40.0, 20.0)


def run_at(factor, offsets=None, errors=ERRORS):
    """A run at ``factor`` times the costs, whose speakers lie ``offsets``
    around its errors, or with no speakers at all."""
    costs = [factor * cost for cost in COSTS]
    if offsets is None:
        return Curve(costs, errors)
    wrong = 10 * (np.array(errors)[:, None] + np.array(offsets))
    return Curve(
        costs,
        wrong.mean(1) / 10,
        tuple(f"s{i}" for i in range(len(offsets))),
        wrong,
        np.full(wrong.shape, 1000.0),
    )


def test_what_is_compared_are_mean_curves():
    ones = [run_at(0.5), run_at(2.0)]
    threes = [run_at(3.0, errors=(60, 40, 24)), run_at(3.0)]
    found = compare_costs(ones, threes)
    assert found.target == pytest.approx(22)
    assert found.cost == pytest.approx(10**1.9)
    assert found.ratio.value == pytest.approx(10**1.9 / 300)
    assert (found.ratio.low, found.ratio.high) == (None, None)
    # Together from 3 to 100; the second rises by 2 % points at the end.
    both = [area(COSTS, ERRORS, 3, 100)]
    both.append(area([3, 30, 300], [60, 40, 22], 3, 100))
    assert found.area == pytest.approx(both[0])
    assert found.areas.value == pytest.approx(both[0] / both[1])
    asked = compare_costs(ones, threes, target=30)
    assert asked.ratio.value == pytest.approx(
        10**1.5 / cost_to_target([3, 30, 300], [60, 40, 22], 30)
    )


def test_the_same_speakers_are_drawn_for_both():
    offsets = np.linspace(-10, 10, 12)
    halves = compare_costs([run_at(0.5, offsets)], [run_at(1.0, offsets)])
    # Hard speakers are hard for both: nothing is left to be unsure of.
    assert halves.ratio.value == pytest.approx(0.5)
    assert (halves.ratio.low, halves.ratio.high) == pytest.approx((0.5, 0.5))
    other = compare_costs([run_at(0.5, offsets[::-1])], [run_at(1.0, offsets)])
    assert other.ratio.value == pytest.approx(0.5)
    assert other.ratio.low < 0.3 < 0.7 < other.ratio.high
    assert other.areas.low < other.areas.value < other.areas.high


def test_seeds_are_drawn_too():
    offsets = np.zeros(5)
    factors = [0.5, 1.0, 1.5, 2.0, 3.0]
    seeds = [run_at(x, offsets) for x in factors]
    whole = compare_costs(seeds, [run_at(1.0, offsets)], n_draws=20_000)
    assert whole.ratio.value == pytest.approx(np.exp(np.log(factors).mean()))
    # As wide as the standard error of a mean of five, which draws of five
    # would make smaller by a tenth.
    half = np.log(whole.ratio.high / whole.ratio.low) / 2
    error = np.log(factors).std(ddof=1) / 5**0.5
    assert half == pytest.approx(1.96 * error, rel=0.05)
    alone = compare_costs(seeds[:1], [run_at(1.0, offsets)])
    assert (alone.ratio.low, alone.ratio.high) == pytest.approx((0.5, 0.5))


def test_intervals_cover_what_is_true():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        hard = rng.normal(0, 6, 20)

        def runs(factor, hard=hard):
            return [
                run_at(
                    factor * np.exp(rng.normal(0, 0.1)),
                    hard + rng.normal(0, 2, 20) + rng.normal(0, 0.5),
                )
                for _ in range(3)
            ]

        ratio = compare_costs(runs(0.5), runs(1.0), n_draws=200).ratio
        hits += ratio.low <= 0.5 <= ratio.high
    # 95 % are meant; three seeds are few.
    assert 48 <= hits <= 60


def test_what_never_arrives_is_told():
    offsets = np.linspace(-1, 1, 6)
    lost = run_at(1.0, offsets, errors=(60, 50, 40))
    found = compare_costs([lost], [run_at(1.0, offsets)])
    assert found.cost == found.ratio.value == float("inf")
    assert found.ratio.low == found.ratio.high == float("inf")
    assert found.areas.value > 1
    # One seed of two gets there; on average they do not, in some draws.
    half = compare_costs([lost, run_at(0.5, offsets)], [run_at(1.0, offsets)])
    assert half.ratio.value == half.ratio.high == float("inf")
    assert half.ratio.low == pytest.approx(0.5, abs=0.1)
    both = compare_costs([lost], [lost], target=1)
    assert both.ratio.value == float("inf")
    assert both.ratio.low is None
    apart = compare_costs([run_at(1e-4)], [run_at(1.0)])
    assert (apart.area, apart.areas) == (None, None)


def test_speakers_must_be_the_same_for_an_interval():
    few, more = run_at(0.5, np.zeros(4)), run_at(1.0, np.zeros(5))
    found = compare_costs([few], [more])
    assert found.ratio.value == pytest.approx(0.5)
    assert found.ratio.low is None
    assert compare_costs([few], [run_at(1.0)]).ratio.low is None
    with pytest.raises(ValueError, match="points, speakers"):
        Curve([1, 2], [3, 4], ("a", "b"), [[1, 2]], [[1, 2]])
    with pytest.raises(ValueError, match="other lengths"):
        compare_costs([few, Curve([1], [2])], [more])


@pytest.mark.parametrize(
    ("costs", "errors"),
    [
        ([], []),
        ([1, 2], [1]),
        ([1, 1], [2, 1]),
        ([0, 1], [2, 1]),
        ([1, 2], [float("nan"), 1]),
    ],
)
def test_curves_are_checked(costs, errors):
    with pytest.raises(ValueError):
        cost_to_target(costs, errors, 1)


def test_what_a_teacher_cost_is_carried_over():
    layer = torch.nn.Linear(1, 3)
    meters = [EfficiencyMeter(sample_rate=8) for _ in range(2)]
    assert meters[1].totals() == {"steps": 0}
    for meter in meters:
        with meter.step(torch.ones(2, 16), torch.ones(2)):
            layer(torch.ones(2, 16, 1))
    first = meters[0].summary(layer)
    meters[1].carry("teacher", first)
    meters[1].carry("teacher", first)  # a resumed training says so again
    meters[1].carry("units", {"flops": 5, "cpu_seconds": 3.0})
    both = meters[1].totals()
    assert both["flops"] == 2 * first["flops"] + 5 > 5
    assert both["audio_seconds"] == 2 * first["audio_seconds"]
    assert both["steps"] == 2
    assert both["cpu_seconds"] > first["cpu_seconds"] + 3
    assert "parameters" not in both
    before = meters[1].summary(layer)["before"]
    assert before["units"].pop("id")
    assert before["units"] == {"flops": 5, "cpu_seconds": 3.0}
    assert before["teacher"]["steps"] == 1
    assert "parameters" not in before["teacher"]


def test_costs_of_runs_are_found_by_folder_and_by_encoder(tmp_path, caplog):
    cost = {"flops": 7.0, "steps": 2, "id": "r"}
    encoder = tmp_path / "run/save/CKPT+1/encoder.ckpt"
    encoder.parent.mkdir(parents=True)
    encoder.touch()
    runs = {"weights": str(encoder), "teacher": None, "detector": ""}
    meter = EfficiencyMeter()
    meter.carry_all(runs, {})
    assert meter.totals() == {"steps": 0}
    assert "what the weights" in caplog.text and "is not there" in caplog.text
    (tmp_path / "run/efficiency.json").write_text(json.dumps(cost))
    meter.carry_all(runs, {"units": {"flops": 2.0}})
    assert meter.totals() == {"flops": 9.0, "steps": 2}
    meter.carry_all({"teacher": tmp_path / "run"}, {})
    assert meter.totals() == {"flops": 9.0, "steps": 2}  # the same run
    meter.carry("boundaries", {})
    assert "nothing says what the boundaries cost" in caplog.text
    told = meter.summary(torch.nn.Linear(1, 1))["before"]
    assert told.keys() == {"weights", "units"}


def test_costs_of_others_are_not_taken_for_a_runs(tmp_path, caplog):
    """An encoder that lies about by itself is of no run that is known."""
    (tmp_path / "efficiency.json").write_text('{"flops": 7.0}')
    meter = EfficiencyMeter()
    for place in ("encoder.ckpt", "a/b/encoder.ckpt"):
        meter.carry_all({"weights": tmp_path / place}, {})
    assert meter.totals() == {"steps": 0}
    assert caplog.text.count("is not there") == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"flops": 7',
        "[7]",
        '{"flops": null}',
        '{"flops": NaN}',
        '{"steps": -1}',
        '{"before": [1]}',
        '{"before": {"a": 3}}',
    ],
)
def test_a_file_that_tells_no_costs_is_named(text, tmp_path):
    (tmp_path / "efficiency.json").write_text(text)
    with pytest.raises(ValueError, match="efficiency.json does not tell costs"):
        EfficiencyMeter().carry_all({"weights": tmp_path}, {})


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_part_of_something_else_counts_once(order):
    """A detector's boundaries may be a teacher's and its student's."""
    shared, chained = {"flops": 5.0, "id": "b"}, {"flops": 3.0, "id": "c"}
    weights = {"flops": 100.0, "id": "w", "before": {"units": chained}}
    total = 5.0 + 100.0 + 60.0
    inside = {"w": weights, "boundaries": shared}
    teacher = {"flops": total, "id": "t", "before": inside}
    meter = EfficiencyMeter()
    given = {"teacher": teacher, "boundaries": shared, "old": chained}
    given |= {"weights": weights, "units": {"flops": 5.1, "id": "u"}}
    for name in [*given][::order]:
        meter.carry(name, given[name])
    assert meter.totals() == {"flops": total + 5.1, "steps": 0}
    # It is told with what is in it, for those who go on from here.
    told = meter.summary(torch.nn.Linear(1, 1))["before"]
    assert told == {"teacher": teacher, "units": given["units"]}
    # Of another teacher it is no part any more.
    meter.carry("teacher", {"flops": 1.0, "id": "other"})
    assert meter.totals()["flops"] == 1.0 + 100.0 + 5.0 + 5.1


def test_what_two_runs_share_counts_once_and_another_cost_replaces_one():
    shared = {"flops": 5.0, "steps": 2, "id": "b"}
    runs = {
        name: {"id": name, "flops": flops, "before": {"boundaries": shared}}
        for name, flops in (("weights", 105.0), ("teacher", 65.0))
    }
    meter = EfficiencyMeter()
    for name, spent in runs.items():
        meter.carry(name, spent)
    assert meter.totals() == {"flops": 100.0 + 60.0 + 5.0, "steps": 2}
    assert meter.before == runs
    meter.carry("weights", {"flops": 1.0})
    assert meter.totals() == {"flops": 1.0 + 65.0, "steps": 2}
    meter.carry("weights", {})
    assert meter.before.keys() == {"teacher"}


def test_equal_costs_of_two_things_count_twice():
    meter = EfficiencyMeter()
    for name in "ab":
        meter.carry(name, {"flops": 100.0})
    assert meter.totals()["flops"] == 200


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_run_that_went_on_the_end_counts(order):
    """A teacher began with it before it went on from 10 to 20."""
    before = {"weights": {"flops": 10.0, "id": "w"}}
    runs = {
        "weights": {"flops": 20.0, "id": "w"},
        "teacher": {"flops": 50.0, "id": "t", "before": before},
    }
    meter = EfficiencyMeter()
    for name in [*runs][::order]:
        meter.carry(name, runs[name])
    assert meter.totals()["flops"] == 40 + 20


def test_runs_of_older_versions_are_known_by_their_costs(tmp_path):
    weights = {"flops": 100.0}
    runs = {
        "weights": weights,
        "teacher": {"flops": 150.0, "before": {"weights": weights}},
    }
    for name, told in runs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "efficiency.json").write_text(json.dumps(told))
    meter = EfficiencyMeter()
    meter.carry_all({name: tmp_path / name for name in runs}, {})
    assert meter.totals()["flops"] == 150


def test_a_broken_file_is_written_over(tmp_path):
    path = tmp_path / "efficiency.json"
    path.write_text("{")
    write_cost(path, {"flops": 1.0, "steps": 1}, 1)
    assert json.loads(path.read_text())["flops"] == 1


def test_a_run_keeps_its_name_when_it_goes_on(tmp_path):
    path = tmp_path / "efficiency.json"
    write_cost(path, {"flops": 1.0, "steps": 1}, 1)
    first = json.loads(path.read_text())
    write_cost(path, {"flops": 2.0, "steps": 2}, 1)
    again = json.loads(path.read_text())
    assert again["id"] == first["id"] and again["flops"] == 2


def test_a_training_that_goes_on_keeps_what_it_was_told(tmp_path):
    (tmp_path / "run").mkdir()
    cost = tmp_path / "run/efficiency.json"
    layer = torch.nn.Linear(1, 1)
    saver = AtomicCheckpointer(tmp_path / "save", {"layer": layer})

    def begun(flops):
        cost.write_text(json.dumps({"flops": flops}))
        meter = EfficiencyMeter()
        meter.carry_all({"weights": tmp_path / "run"}, {}, saver)
        return meter.totals()["flops"]

    assert (begun(1.0), begun(2.0)) == (1.0, 2.0)  # nothing is trained yet
    saver.save_checkpoint()
    assert begun(3.0) == 2.0


def test_what_fails_is_not_counted_as_spent():
    spent = {}
    with pytest.raises(KeyError), spending(spent):
        raise KeyError
    assert spent == {}
    note_flops(3)  # nobody counts
    with spending(spent), spending({}):
        note_flops(3)
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
    assert spent["flops"] == 3 and spent["cpu_seconds"] >= 0.02


def test_inverse_transforms_count():
    counts = []
    with counted_flops(counts):
        torch.fft.irfft(torch.fft.rfft(torch.ones(4, 64)), 64)
    assert counts == [2 * int(2.5 * 4 * 64 * 6)]


def test_energy_is_counted_beside_the_rest(tmp_path):
    """By codecarbon itself: a busy second takes more than an idle one."""
    meter = EfficiencyMeter(sample_rate=10, energy="process")
    one = torch.zeros(1, 10), torch.ones(1)
    with meter.step(*one):
        pass
    before = meter.totals()
    spent = []
    for busy in (False, True):
        end = time.perf_counter() + 1.5
        with meter.step(*one):
            while time.perf_counter() < end:
                time.sleep(0.1) if not busy else torch.randn(99, 99).square()
        after = meter.totals()
        spent.append({name: after[name] - before[name] for name in ENERGY})
        before = after
    idle, busy = spent
    assert busy["cpu_joules"] > 2 * idle["cpu_joules"] >= 0
    for part in spent:
        assert part["ram_joules"] > 0
        parts = sum(part[f"{name}_joules"] for name in ("cpu", "gpu", "ram"))
        assert part["joules"] == pytest.approx(parts)

    found = meter.summary(torch.nn.Linear(2, 2))
    assert found["joules"] >= before["joules"]
    assert re.match(
        r"codecarbon [\d.]+, process: .*CPU", found["energy_method"]
    )
    meter.sums.save(tmp_path / "meter")
    resumed = EfficiencyMeter(sample_rate=10, energy="process")
    resumed.sums.load(tmp_path / "meter", end_of_epoch=True)
    assert resumed.totals()["joules"] == found["joules"]
    after = EfficiencyMeter(sample_rate=10)
    after.carry("weights", found)
    assert after.totals()["joules"] == found["joules"]


class Counters:
    """What codecarbon is to us; its processor's counter is the machine's."""

    __version__ = "9"

    class OfflineEmissionsTracker:
        def __init__(self, **settings):
            self.settings = settings
            self._conf = {"hardware": ["RAM()", "CPU(Intel Rapl)"]}

        def start_task(self):
            pass

        def stop(self):
            pass

        def stop_task(self):
            return SimpleNamespace(
                cpu_energy=1 / 3.6e6, gpu_energy=2 / 3.6e6, ram_energy=4 / 3.6e6
            )


@pytest.mark.parametrize(
    ("tracking", "rank", "device", "joules"),
    [
        ("machine", 0, "cpu", (1, 2, 4)),
        ("machine", 1, "cpu", None),
        # The counter knows no processes, an idle accelerator is nobody's.
        ("process", 0, "cpu", (1, 0, 4)),
        ("process", 1, "cpu", (0, 0, 4)),
        ("process", 1, "cuda:0", (0, 2, 4)),
    ],
)
def test_nothing_is_counted_twice(monkeypatch, tracking, rank, device, joules):
    monkeypatch.setitem(sys.modules, "codecarbon", Counters)
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setattr("speechbrain_privacy.brains.energy._index", lambda _: 5)
    tracker = EnergyTracker(tracking)
    tracker.start(device)
    found = tracker.read()
    if joules is None:
        assert found == {} and tracker.method == "nothing was counted"
        return
    values = [found[f"{part}_joules"] for part in ("cpu", "gpu", "ram")]
    assert values == pytest.approx(joules)
    assert found["joules"] == pytest.approx(sum(joules))
    gpus = tracker._tracker.settings["gpu_ids"]
    assert gpus == ([5] if device == "cuda:0" else None)
    assert ("whole machine" in tracker.method) == (tracking == "process")
    tracker.stop()
    assert tracker.read() == {}


def test_what_energy_cannot_be_of():
    with pytest.raises(ValueError, match="not of 'house'"):
        EfficiencyMeter(energy="house")


def test_energy_without_codecarbon(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    # A finished run opens without it.
    meter = EfficiencyMeter(energy="process")
    assert meter.totals() == {"steps": 0}
    with (
        pytest.raises(ImportError, match=r"pip install .*\[energy\]"),
        meter.step(torch.zeros(1, 16), torch.ones(1)),
    ):
        pass


def test_what_is_measured_is_where_the_model_is(monkeypatch):
    """Batches come from the CPU, and time is the accelerator's."""
    waited, started = [], []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 7)
    monkeypatch.setattr(
        EnergyTracker, "start", lambda _, at: started.append(at)
    )
    meter = EfficiencyMeter(energy="process")
    cuda = torch.device("cuda:0")
    with meter.to("cuda:0").step(torch.zeros(1, 16), torch.ones(1)):
        assert waited == [cuda] and started == [cuda]
    assert waited == [cuda, cuda]
    found = meter.summary(torch.nn.Linear(2, 2))
    assert (found["peak_memory_bytes"], found["device"]) == (7, "cuda:0")
    brain = AdversarialBrain(
        modules={"adversaries": AdversaryEnsemble()},
        optimizers={},
        epoch_counter=EpochCounter(1),
        run_opts={"device": "meta", "noprogressbar": True},
        meter=meter,
    )
    assert brain.meter is meter and meter.device.type == "meta"


def test_the_log_says_what_it_has_cost(caplog):
    meter = EfficiencyMeter(sample_rate=8)
    meter.carry("teacher", {"flops": 2e12, "steps": 3})
    with meter.step(torch.ones(2, 8 * 3600), torch.tensor([1.0, 0.5])):
        pass
    with caplog.at_level("INFO"):
        assert meter.logged() == {"audio hours": 1.5}
    assert "cost so far: 2 TFLOP, 1.5 h of audio, 0 CPU s" in caplog.text


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_costs_are_shown_on_a_terminal(kind, monkeypatch):
    stream = kind()
    monkeypatch.setattr(sys, "stderr", stream)
    meter = EfficiencyMeter(sample_rate=8)
    meter.carry("teacher", {"flops": 2e12, "steps": 3})
    with meter.step(torch.ones(2, 8 * 3600), torch.tensor([1.0, 0.5])):
        torch.nn.Linear(1, 3)(torch.ones(2, 16, 1))
    meter.show()
    shown = stream.getvalue()
    if kind is Terminal:
        assert "2 TFLOP, 1.5 h of audio, 0 CPU s" in shown and "GiB" in shown
    else:
        assert shown == ""
    # The line is wiped afterwards, where the cursor then is, and comes back.
    before = len(stream.getvalue())
    meter.hide()
    wiped = stream.getvalue()[before:]
    assert wiped.strip() == "" and "\n" not in wiped
    meter.hide()
    meter.show()
    assert meter.line is not None
    meter.hide()
