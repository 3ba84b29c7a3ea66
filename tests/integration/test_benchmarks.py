"""Benchmarks run; what they measure is not asserted in a timed test."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.skipif(
    sys.platform != "linux", reason="peak memory is read from Linux's /proc"
)
def test_adversary_overhead_prints_both_ratios():
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks/adversary_overhead.py"),
            *("--seconds=6", "--repeats=1", "--threads=1"),
        ],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    for name in ("time", "memory"):
        found = re.search(rf"^ratio {name} ([0-9.]+)$", done.stdout, re.M)
        assert float(found.group(1)) > 0
