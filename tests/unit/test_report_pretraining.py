"""What errors of encoders cost, as a table."""

import pytest

from speechbrain_privacy.report import plots
from speechbrain_privacy.report.pretraining import (
    cost_lines,
    curves,
    describe_costs,
    describe_letters,
)


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
    # The worst seed's 40 % is what both seeds reach, one of them sooner.
    sooner = 10 ** (1 + 10 / 12)
    assert lines["fixed"][0] == "39.0 +- 1.4"
    assert lines["fixed"][3] == "1"
    mean = (100 + sooner) / 2
    assert float(lines["fixed"][2].split()[0]) == pytest.approx(mean, abs=0.1)
    assert float(lines["half"][2].split()[0]) == pytest.approx(
        mean / 2, abs=0.1
    )
    value, low, high = (
        float(x)
        for x in lines["half"][3]
        .replace(",", "")
        .strip("]")
        .replace("[", "")
        .split()
    )
    assert value == 0.5
    assert low < 0.5 < high
    # One of two never gets there: no ratio, which would flatter.
    assert lines["bad"][2].endswith("(1 of 2)")
    assert lines["bad"][3] == "-"
    # The same errors at half of the cost: less on the common range.
    areas = {name: float(line[4].split()[0]) for name, line in lines.items()}
    assert areas["half"] < areas["fixed"] < areas["bad"]
    text = describe_costs(RUNS)
    assert "Target: 40.0 % phone error, which fixed reaches" in text
    assert describe_costs([{"name": "x", "seed": 1}]) == ""


def test_a_random_encoder_has_no_cost():
    free = {"name": "none", "seed": 1, "curve": [{"epoch": 0, "error": 60.0}]}
    assert list(curves([*RUNS, free])) == ["fixed", "half", "bad"]


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
