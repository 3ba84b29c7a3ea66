"""Recognisers for those who have SpeechBrain alone."""

import csv
import json
import shutil
import subprocess
import sys

import pytest
import torch

from speechbrain_privacy import export
from speechbrain_privacy.cli import main
from speechbrain_privacy.integrations.huggingface import write_tiny
from speechbrain_privacy.lobes.pretrained import PretrainedEncoder
from speechbrain_privacy.runs import reopen
from tests.integration.recipes import TINY, own_corpus, run

#: Somebody else's program: where it runs, there is no package of ours.
FOREIGN = """
import json, os, sys
sys.modules["speechbrain_privacy"] = None
import torch
from speechbrain.inference.ASR import EncoderASR
moved = sys.argv[1] + "/model"
model = EncoderASR.from_hparams(
    source=sys.argv[1],
    savedir="kept",
    overrides={"model_source": moved} if os.path.isdir(moved) else {},
)
found = {}
for path in sys.argv[2:]:
    wav = model.load_audio(path)[None]
    found[path] = {
        "text": model.transcribe_file(path),
        "log_probs": model.encode_batch(wav, torch.ones(1)).tolist(),
    }
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def trained(toy_corpus, tmp_path_factory):
    """YAML -> output folder of a short training."""
    folders = {}

    def train(yaml, *arguments, recipe="AN4/ASR/CTC", settings=""):
        key = yaml, arguments, settings
        if key not in folders:
            folder = tmp_path_factory.mktemp(yaml)
            tiny, *others = TINY
            if "pretrained" in yaml or "waveform" in yaml:
                write_tiny(folder / "tiny", "hubert", hidden_size=16)
                more = settings and f", {settings}"
                tiny = "--model={source: %s, d_model: 16%s}"
                tiny %= folder / "tiny", more
                arguments = ("--layer=1", *arguments)
            done = run(
                recipe,
                yaml,
                tiny,
                *others,
                "--number_of_epochs=3",
                "--lr=0.01",
                *arguments,
                *own_corpus(toy_corpus),
                f"--output_folder={folder / 'run'}",
            )
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr
            folders[key] = folder / "run"
        return folders[key]

    return train


def outside(folder, source, paths):
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN, str(source), *paths],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("FOUND")[1])


@pytest.mark.parametrize(
    "yaml, settings",
    [
        ("conformer_adversarial", ""),
        ("pretrained_adversarial", ""),
        ("pretrained", "output: weighted, lora: {rank: 2, alpha: 8.0}"),
    ],
)
def test_speechbrain_alone_reads_what_the_run_has_read(
    trained, yaml, settings, toy_corpus, tmp_path, capsys
):
    folder = trained(yaml, settings=settings)
    if "pretrained" in yaml:
        # What it began with is not needed any more.
        before = folder.parent / "tiny"
        gone = before.with_name("gone")
    assert main(["export", str(folder), str(tmp_path / "out")]) == 0
    assert "differ by" in capsys.readouterr().out
    out = tmp_path / "out"
    if "pretrained" in yaml:
        before.rename(gone)
        out = out.rename(tmp_path / "moved")
    # No adversary among the weights.
    weights = torch.load(out / "encoder.ckpt", weights_only=True)
    assert not any("adversar" in name for name in weights)
    corpus, manifests = toy_corpus
    with manifests["test"].open(newline="") as file:
        rows = {row["ID"]: row for row in csv.DictReader(file)}
    with open(folder / "test_transcripts.csv", newline="") as file:
        wanted = {row["ID"]: row["hypothesis"] for row in csv.DictReader(file)}
    paths = {
        key: row["wav"].replace("$data_root", str(corpus))
        for key, row in rows.items()
    }
    found = outside(tmp_path, out, paths.values())
    for key, path in paths.items():
        assert found[path]["text"] == wanted[key]
        log_probs = torch.tensor(found[path]["log_probs"])
        # Blank, word start, A, B, C: not the head's spare outputs.
        assert log_probs.shape[2] == 5
        assert torch.allclose(log_probs.exp().sum(2), torch.ones(()), atol=1e-4)


def pretrained_hubert(trained):
    return trained(
        "hubert_waveform",
        "--n_clusters=8",
        "--reader=null",
        "--alignments=null",
        recipe="AN4/self-supervised-learning/hubert",
    )


def test_a_pretrained_model_is_written_as_any_source(trained, tmp_path, capsys):
    folder = pretrained_hubert(trained)
    out = tmp_path / "out"
    assert main(["export", str(folder), str(out)]) == 0
    said = capsys.readouterr().out
    assert "it makes hidden frames that differ by 0 at most" in said
    brain, *_ = reopen(folder)
    encoder = brain.unwrapped("objective").network.encoder.eval()
    read = PretrainedEncoder(str(out)).eval()
    wavs = torch.randn(1, 8000)
    ours, theirs = (x(wavs, torch.ones(1))[0] for x in (encoder, read))
    assert torch.equal(ours, theirs)
    # It has learnt something since.
    first = PretrainedEncoder(str(folder.parent / "tiny")).eval()
    assert not torch.equal(first(wavs, torch.ones(1))[0], theirs)


class Malicious:
    def __reduce__(self):
        return eval, ("open('unpickled', 'w').close()",)


@pytest.mark.parametrize("part", ["encoder", "model_optimizer", "counter"])
def test_no_code_of_a_checkpoint_runs(
    trained, part, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained("conformer_adversarial"), tmp_path / "run")
    (last,) = (tmp_path / "run/save").glob("CKPT*")
    torch.save({"weight": Malicious()}, last / f"{part}.ckpt")
    main(["export", str(tmp_path / "run"), str(tmp_path / "out")])
    assert not (tmp_path / "unpickled").exists()
    if part == "encoder":
        assert "holds more than weights" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_what_speechbrain_has_nothing_like_is_refused(
    trained, tmp_path, capsys
):
    folder = trained("conformer_bottleneck")
    assert main(["export", str(folder), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "has bottleneck, and SpeechBrain has no module like it" in said
    assert not (tmp_path / "out").exists()


def test_what_came_out_otherwise_is_not_written(trained, tmp_path, monkeypatch):
    def fill(encoder, stock):
        whole(encoder, stock)
        with torch.no_grad():
            stock["transformer"].custom_src_module.layers[0].w.weight.mul_(2)

    whole = export._fill_conformer
    monkeypatch.setattr(export, "_fill_conformer", fill)
    with pytest.raises(ValueError, match="in its new shape .* nothing is writ"):
        export.export_run(trained("conformer_adversarial"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pretrained_model_that_came_out_otherwise_is_not_written(
    trained, tmp_path, monkeypatch
):
    def write(encoder, folder):
        whole(encoder, folder)
        write_tiny(folder, "hubert", hidden_size=16, seed=7)

    whole = PretrainedEncoder.write
    monkeypatch.setattr(PretrainedEncoder, "write", write)
    with pytest.raises(ValueError, match="frames differ by .* nothing is wri"):
        export.export_run(pretrained_hubert(trained), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(trained, tmp_path, capsys):
    folder = trained("conformer_adversarial")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    assert main(["export", str(folder), str(tmp_path / "out")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["export", str(tmp_path), str(tmp_path / "new")]) == 2
    assert "no run" in capsys.readouterr().err
