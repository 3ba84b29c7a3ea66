"""Every recipe through its real ``train.py``, with its own flags."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.integration.recipes import run

ROWS = [
    row
    for path in sorted((ROOT / "tests/recipes").glob("*.csv"))
    for row in csv.DictReader(path.open(newline=""))
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["Hparam_file"])
def test_every_yaml_runs_with_its_own_flags_from_the_root(row, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            row["Script_file"],
            row["Hparam_file"],
            f"--output_folder={tmp_path}",
            "--device=cpu",
            *shlex.split(row["test_debug_flags"]),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    wanted = row["test_debug_checks"].split("file_exists=[")[1].split("]")[0]
    for name in wanted.split(","):
        assert (tmp_path / name).is_file(), name
    loss = "ctc" if row["Task"].startswith("ASR") else "hidden"
    log = (tmp_path / "train_log.txt").read_text().splitlines()
    losses = [
        float(line.split(f"train {loss}: ")[1].split(",")[0].split(" - ")[0])
        for line in log
    ]
    assert losses[-1] < losses[0]
    if row["Task"] == "Boundaries":
        found = json.loads((tmp_path / "boundaries.json").read_text())
        assert found["seed"] == 1234 and found["train"] != found["test"]
        assert found["scored"] == found["test"]  # no manifest of its own here
        found = found["detectors"]
        names = [detector["name"] for detector in found]
        assert names[-3:] == ["learnt", "uniform", "random"]
        assert all(row["report"]["n_reference"] == 48 for row in found)
        assert all(row["report"]["n_found"] > 16 for row in found)
        return
    results = json.loads((tmp_path / "results.json").read_text())
    if loss == "hidden":
        assert results["hidden frames"]["hidden"] > 0
        (encoder,) = (tmp_path / "save").glob("CKPT*/encoder.ckpt")
        objective = torch.load(encoder.with_name("objective.ckpt"))
        filled_in = any("network.decoder." in name for name in objective)
        visible = ("visible", "informed", "adversarial")
        assert filled_in == any(
            f"--encode={kind}" in row["test_debug_flags"]
            or row["Hparam_file"].endswith(f"{kind}.yaml")
            for kind in visible
        )
        assert torch.load(encoder, weights_only=True)
        if "number_of_epochs: 3" in row["test_debug_flags"]:
            before = (tmp_path / "generation-1/train_log.txt").read_text()
            assert len(before.splitlines()) == 3 < len(log)
        audit = json.loads((tmp_path / "audit.json").read_text())
        assert set(audit["taps"]) >= {"encoder"}
        assert "guessing" in done.stdout
        return
    assert results["WER"]["n_speakers"] == 4
    audit = json.loads((tmp_path / "audit.json").read_text())
    further = {
        "conformer": {"logmel"},
        "conformer_bottleneck": {"logmel", "bottleneck"},
        "conformer_adversarial": set(),
        "pretrained": {"layer"},
        "pretrained_adversarial": {"layer"},
    }[Path(row["Hparam_file"]).stem]
    assert set(audit["taps"]) == {"encoder", "posteriors"} | further
    # Blank, word start, A, B, C: not the head's spare outputs.
    assert audit["taps"]["posteriors"]["dim"] == 5
    assert "guessing" in done.stdout


@pytest.mark.parametrize(
    ("kind", "units"),
    [
        ("bestrq", 0),
        ("hubert", 20),
        ("wavlm", 20),
        ("wav2vec2", 0),
        ("multitask", 0),
    ],
)
def test_debug_tries_the_full_size(kind, units, tmp_path):
    """Two batches in each of two epochs, on the toy corpus."""
    tones = ROOT / "tests/samples/tones"
    done = run(
        f"LibriSpeech/self-supervised-learning/{kind}",
        kind,
        *(
            f"--{s}_manifest={tones}/{s}.csv"
            for s in ("train", "valid", "test")
        ),
        f"--data_folder={tones}",
        "--debug",
        "--reader=null",
        "--attack={epochs: 6, batch_size: 4}",
        *([f"--n_clusters={units}"] if units else []),
        "--precision=fp32",
        "--num_workers=0",
        "--device=cpu",
        "--noprogressbar",
        f"--output_folder={tmp_path}",
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    spent = json.loads((tmp_path / "efficiency.json").read_text())
    assert spent["parameters"] > 80e6
    assert (tmp_path / "audit.json").is_file()
