"""Benchmarks run; what they measure is not asserted in a timed test."""

import importlib.util
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT


def printed(name, *arguments):
    """What a benchmark prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *arguments],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(
    sys.platform != "linux", reason="peak memory is read from Linux's /proc"
)
def test_adversary_overhead_prints_both_ratios():
    text = printed(
        "adversary_overhead.py", "--seconds=6", "--repeats=1", "--threads=1"
    )
    for name in ("time", "memory"):
        found = re.search(rf"^ratio {name} ([0-9.]+)$", text, re.M)
        assert float(found.group(1)) > 0


def test_metrics_speed_prints_its_ratio():
    text = printed("metrics_speed.py", "--largest=1e6", "--peer-trials=2e3")
    assert "all metrics, 1e+06 trials" in text
    found = re.search(r"^ratio speechbrain_eer ([0-9]+)$", text, re.M)
    assert float(found.group(1)) > 1


def test_interval_coverage_prints_a_share_per_metric():
    text = printed(
        "interval_coverage.py",
        *("--speakers", "8", "--repetitions=10", "--noise", "1.0"),
        *("--truth-speakers=60", "--methods", "jackknife", "bootstrap"),
    )
    shares = re.findall(r"covers ([0-9.]+) %", text)
    assert len(shares) == 8
    assert all(float(share) >= 50 for share in shares)


def test_masking_speed_prints_ratios():
    text = printed("masking_speed.py", "--repetitions=2")
    found = re.findall(r"^ratio \S+_vs_speechbrain ([0-9.]+)$", text, re.M)
    assert len(found) == 6
    # 9 to 36 on a machine with nothing else to do.
    assert all(float(ratio) > 3 for ratio in found)
    off = re.search(r"off by ([0-9.]+) points", text)
    assert float(off.group(1)) <= 1.0


@pytest.mark.skipif(
    sys.platform != "linux", reason="peak memory is read from Linux's /proc"
)
def test_ssl_step_prints_ratios_of_time_and_memory():
    text = printed(
        "ssl_step.py",
        *("--seconds=2", "--utterances=2", "--repeats=1"),
        *("--d_model=32", "--layers=1"),
    )
    found = re.findall(r"^ratio (time|memory) \S+ \S+ ([0-9.]+)$", text, re.M)
    assert len(found) == 18
    assert all(float(ratio) > 0 for _, ratio in found)


def test_peers_attend_as_speechbrain_does():
    program = """
import torch
from peers import speechbrain_layers
from ssl_step import EncoderAlone
from speechbrain_privacy.lobes.conformer import ConformerLobe
from speechbrain_privacy.nnet.operations import counted_flops
lobe = ConformerLobe(80, d_model=16, num_layers=1, d_ffn=16).eval()
x, lengths = torch.randn(2, 40, 80), torch.ones(2)
ours = lobe(x, lengths)[0]
layer = speechbrain_layers(lobe).layers.layers[0]
print(type(layer.mha_layer).__module__)
print(type(layer.convolution_module).__module__)
print(torch.allclose(ours, lobe(x, lengths)[0], atol=1e-5))
flops = []
for share in (1.0, 0.5):
    with counted_flops(flops):
        EncoderAlone(lobe, share)(x, lengths)
print(flops[1] < 0.6 * flops[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "benchmarks",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        "speechbrain.nnet.attention",
        "speechbrain.lobes.models.transformer.Conformer",
        "True",
        "True",
    ]


def test_voices_speed_prints_real_times():
    text = printed("voices_speed.py", "--seconds=2", "--repeats=1")
    found = re.findall(r"^ratio real_time_(\w+) ([0-9]+)$", text, re.M)
    assert [name for name, _ in found] == [
        "mcadams",
        "vocal_tract",
        "pitch",
        "equalizer",
    ]
    assert all(int(times) > 1 for _, times in found)


def test_what_tells_of_a_pretext_task_before_training():
    """Its trainings take an hour; what it makes of them does not."""
    path = ROOT / "benchmarks" / "pretext_selection.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    selection = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(selection)
    draw = np.random.default_rng(0)
    speech = draw.normal(size=(300, 4))
    told = [
        selection.told_linearly(speech @ speech.T, target)
        for target in (speech @ [1.0, 2.0, 0.0, -1.0], draw.normal(size=300))
    ]
    assert told[0] > 0.999 and -0.1 < told[1] < 0.02
    known = {
        "rising": dict(zip("abcd", [1, 2, 3, 4])),
        "odd": {"a": 1, "b": 4, "c": 2, "d": 3},
    }
    errors = {
        "a": [1.0, 9.0],
        "b": [2.0, 9.1],
        "c": [3.0, 9.3],
        "d": [4.0, 9.2],
    }
    found = selection.correlations_of(known, errors)
    # One of 24 orders is as large, and one as small.
    assert found["rising"]["tau"] == 1.0
    assert found["rising"]["p"] == pytest.approx(2 / 24)
    assert found["rising"]["of seeds"] == pytest.approx([1.0, 2 / 3])
    assert found["odd"]["tau"] == pytest.approx(1 / 3)
