"""What errors of encoders cost, as a table."""

import copy

import pytest

from speechbrain_privacy.report import plots
from speechbrain_privacy.report.pretraining import (
    SPENT,
    cost_lines,
    curves,
    describe_costs,
    describe_letters,
    spending_lines,
)
from speechbrain_privacy.report.tables import format_lines


def run(name, seed, factor, errors=(60.0, 50.0, 40.0)):
    costs = [factor * 1e12 * 10**i for i in range(3)]
    return {
        "name": name,
        "seed": seed,
        "curve": [
            {"epoch": i, "flops": cost, "error": error}
            for i, (cost, error) in enumerate(zip(costs, errors, strict=True))
        ],
    }


RUNS = [
    run("fixed", 1, 1.0),
    run("fixed", 2, 1.0, (60.0, 50.0, 38.0)),
    run("half", 1, 0.5),
    run("half", 2, 0.5, (60.0, 50.0, 38.0)),
    run("bad", 1, 1.0, (60.0, 55.0, 45.0)),
    run("bad", 2, 1.0, (60.0, 50.0, 39.0)),
]


def test_cost_to_what_the_first_model_reaches():
    lines = {line[0]: line[1:] for line in cost_lines(RUNS)}
    # 39 % on average is where its mean curve ends.
    assert lines["fixed"][:3] == ("39.0 +- 1.4", "100.0 +- 0", "100.0")
    assert lines["fixed"][3] == lines["fixed"][5] == "1"
    # These have no errors by speaker, so no interval.
    assert lines["half"][2:4] == ("50.0", "0.50")
    assert lines["bad"][2:4] == ("never", "never")
    # The same errors at half of the cost: less on the common range.
    assert float(lines["half"][5]) < 1 < float(lines["bad"][5])
    text = describe_costs(RUNS)
    assert "Target: 39.0 % phone error, what fixed reaches" in text
    assert describe_costs([{"name": "x", "seed": 1}]) == ""


def test_it_says_whose_costs_have_in_them_what_came_before():
    assert "With what was spent" not in describe_costs(RUNS)
    runs = copy.deepcopy(RUNS)
    for one in runs[:4]:
        one["efficiency"] = {"before": {}}
    assert "With what was spent" not in describe_costs(runs)
    runs[3]["efficiency"]["before"] = {"units": {"flops": 3.0}, "weights": {}}
    text = describe_costs(runs)
    assert "before the first step: half (units, weights). Older" in text
    assert "do not say whether it is in them: bad.\n" in text


def test_single_runs_say_what_they_cost_without_a_table_of_dashes():
    one = run("one", 1, 1.0)
    one["curve"] = one["curve"][-1:]
    assert spending_lines([{"name": "x", "seed": 1}]) == []
    # Older results tell the end of the curve alone.
    flops = f"{one['curve'][0]['flops'] / 1e12:.3g}"
    assert spending_lines([one])[1][:4] == ("one", "1", flops, "unknown")
    one["efficiency"] = {
        "flops": 3e12,
        "audio_seconds": 7200.0,
        "cpu_seconds": 90.0,
        "peak_memory_bytes": 3 * 2**29,
        "before": {"weights": {"flops": 1e12}, "units": {"cpu_seconds": 1.0}},
    }
    read = {"name": "asr", "seed": 2, "efficiency": {**one["efficiency"]}}
    read["efficiency"]["before"] = {}
    lines = spending_lines([one, read])
    assert lines[1:] == [
        ("one", "1", "3", "weights 1, units 0", "2", "1.5", "1.50"),
        ("asr", "2", "3", "0", "2", "1.5", "1.50"),
    ]
    alone = describe_costs([one, read], style="markdown")
    assert alone == f"{format_lines(lines, 'markdown')}\n\n{SPENT}"
    text = describe_costs([*RUNS, one])
    assert text.index("TFLOP to target") < text.index("weights 1, units 0")


def test_intervals_where_errors_are_known_by_speaker():
    def known(name, seed, factor):
        told = run(name, seed, factor)
        for point in told["curve"]:
            wrong = round(10 * point["error"])
            point["by_speaker"] = {
                "a": [wrong - 50, 1000],
                "b": [wrong + 50, 1000],
            }
        return told

    runs = [known("fixed", 1, 1.0), known("half", 1, 0.5)]
    (first, second) = cost_lines(runs)
    assert first[4] == "1"
    assert second[4] == "0.50 [0.50, 0.50]"
    assert "Brackets" in describe_costs(runs)
    del runs[1]["curve"][0]["by_speaker"]
    assert cost_lines(runs)[1][4] == "0.50"
    text = describe_costs(runs)
    assert "Brackets" not in text
    assert "lack of errors by speaker (of all seeds): half." in text
    # Methods need not have been asked equally often, nor their seeds.
    runs[1]["curve"].pop(1)
    assert cost_lines(runs)[1][4] == "0.50"
    runs.append(known("half", 2, 0.5))
    assert cost_lines(runs)[1][4] == "0.50"
    assert [len(some.costs) for some in curves(runs)["half"]] == [2, 2]


def test_what_was_reached_at_once_cost_at_most_that():
    soon = run("soon", 1, 1.0, (30.0, 20.0, 10.0))
    assert cost_lines([RUNS[0], soon])[1][3] == "<= 1.0"


def test_first_estimates_of_time_are_left_out():
    told = run("fixed", 1, 1.0)
    for point, seconds in zip(told["curve"], (90, 60, 600), strict=True):
        point["cpu_seconds"] = seconds
    (curve,) = curves([told], "cpu_seconds")["fixed"]
    assert curve.costs.tolist() == [1, 10] and curve.errors.tolist() == [50, 40]


def test_what_one_seed_does_not_tell_is_left_out_of_all():
    told = [run("fixed", 1, 1.0), run("fixed", 2, 1.0), run("half", 1, 0.5)]
    for one, all_seconds in zip(
        told, [(90, 60, 600), (6, 60, 600), (3, 30, 300)], strict=True
    ):
        for point, seconds in zip(one["curve"], all_seconds, strict=True):
            point["cpu_seconds"] = seconds
    found = curves(told, "cpu_seconds")
    assert [curve.costs.tolist() for curve in found["fixed"]] == [[1, 10]] * 2
    lines = cost_lines(told, "cpu_seconds")
    assert [line[4] for line in lines] == ["1", "0.50"]


def test_a_random_encoder_has_no_cost():
    free = {"name": "none", "seed": 1, "curve": [{"epoch": 0, "error": 60.0}]}
    assert list(curves([*RUNS, free])) == ["fixed", "half", "bad"]


def test_costs_can_be_others():
    runs = [run("fixed", 1, 1.0), run("slow", 1, 1.0)]
    for told, seconds in zip(runs, (60.0, 180.0), strict=True):
        for point in told["curve"]:
            point["cpu_seconds"] = seconds * point["flops"] / 1e12
    text = describe_costs(runs, cost="cpu_seconds")
    assert "CPU minutes to target" in text
    (slow, _) = [x for x in text.splitlines() if x.startswith("slow")]
    assert slow.split()[2:5] == ["300.0", "300.0", "3.00"]
    # As cheap in operations; of energy nothing is known.
    assert cost_lines(runs)[1][4] == "1.00"
    with pytest.raises(ValueError, match="no run has a curve over joules"):
        describe_costs(runs, cost="joules")
    runs[0]["curve"][0]["joules"] = 5.0
    assert "not known of slow" in describe_costs(runs, cost="joules")


def test_letters_of_features_are_shown_once():
    def read(seed, value):
        cer = {"value": value, "low": value - 1, "high": value + 1}
        return {
            "name": "fixed",
            "seed": seed,
            "characters": {
                "encoder": {"linear": {"CER": cer}},
                "logmel": {"linear": {"CER": {**cer, "value": 80.0}}},
            },
        }

    text = describe_letters([read(1, 40.0), read(2, 44.0)])
    assert "42.0 +- 2.8" in text
    (features,) = [x for x in text.splitlines() if "features" in x]
    assert "80.0 [39.0, 41.0]" in features
    assert describe_letters([{"name": "x", "seed": 1}]) == ""


def test_the_picture_has_every_model():
    figure = plots.costs(curves(RUNS))
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["fixed", "half", "bad"]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert len(lines) == 3 * (2 + 1)
    assert list(lines[2].get_ydata()) == pytest.approx([60, 50, 39])


def test_a_picture_of_many_models_has_its_legend_beside_it(tmp_path):
    (run,) = [x for x in RUNS if (x["name"], x["seed"]) == ("fixed", 1)]
    many = [{**copy.deepcopy(run), "name": f"model{i}"} for i in range(12)]
    for n in (6, 7, 12):
        figure = plots.costs(curves(many[:n]))
        (axes,) = figure.axes
        plots.save(figure, tmp_path / "x.png")
        legend = axes.get_legend().get_window_extent()
        assert (legend.x0 > axes.get_window_extent().x1) == (n > 6)
        assert legend.x1 <= figure.bbox.x1
    lines = axes.get_legend().get_lines()
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(looks) == 12


def test_of_one_point_nothing_is_known_but_its_end():
    runs = copy.deepcopy(RUNS)
    for run in runs:
        if run["name"] == "fixed":
            run["curve"] = run["curve"][-1:]
    for name, error, _, *beside in cost_lines(runs):
        assert beside == ["-"] * 4, name
        assert error != "-"
