"""Recipes through their real ``train.py``: what users ask of them."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.batch import PaddedBatch

from speechbrain_privacy.cli import main
from speechbrain_privacy.lobes.trained import TrainedEncoder
from speechbrain_privacy.runs import reopen
from tests.conftest import ROOT
from tests.integration.recipes import TINY, own_corpus, run


def aligned(paths, target):
    """An alignment of training and test data: each half is a phone."""
    lines = ["utt_id,start,end,phone"]
    for split in ("train", "test"):
        for row in csv.DictReader(paths[split].open(newline="")):
            half = float(row["duration"]) / 2
            lines += [f"{row['ID']},0,{half},a"]
            lines += [f"{row['ID']},{half},{row['duration']},b"]
    target.write_text("\n".join(lines) + "\n")
    return target


def test_a_pretrained_encoder_is_probed_and_audited_again(
    toy_corpus, tmp_path, capsys
):
    """With an alignment; and by the command, from the folder alone."""
    folder, paths = toy_corpus
    alignment = aligned(paths, tmp_path / "a.csv")
    arguments = (
        "MiniSpeech/self-supervised-learning/bestrq",
        "bestrq_informed",
        "--model={d_model: 16, num_layers: 1, d_ffn: 16}",
        "--attack={epochs: 8, batch_size: 4}",
        "--number_of_epochs=1",
        "--batch_seconds=8",
        "--device=cpu",
        "--noprogressbar",
        *own_corpus(toy_corpus),
        "--reader=null",
        f"--output_folder={tmp_path / 'run'}",
    )
    done = run(*arguments, f"--alignments={paths['train']}")
    assert done.returncode != 0
    assert "column 'utt_id' is missing" in done.stdout
    assert not (tmp_path / "run/train_log.txt").exists()  # before training
    done = run(*arguments, f"--alignments={alignment}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert 0 < results["phones"]["encoder"]["error"]["value"] < 100
    assert "phone error %" in done.stdout
    assert results["settings"]["number_of_epochs"] == "1"
    assert "seed" not in results["settings"]
    # Without milestones, too, it is known what the finished one has cost.
    (point,) = results["curve"]
    spent = json.loads((tmp_path / "run/efficiency.json").read_text())
    assert point["epoch"] == 1 and point["flops"] == spent["flops"] > 0
    assert point["error"] == results["phones"]["encoder"]["error"]["value"]
    suite = str(ROOT / "hparams/attacks/standard.yaml")
    status = main(["audit", str(tmp_path / "run"), "--attackers", suite])
    assert status == 0, capsys.readouterr().err
    audit = json.loads((tmp_path / "run/audit.json").read_text())
    assert audit["controls"] == {}
    assert "encoder" in capsys.readouterr().out
    # Less than the whole suite, and what is none.
    small = tmp_path / "small.yaml"
    small.write_text(
        re.sub(
            r"(?m)^(text|attribute):\n(?: .*\n|\n)+",
            "",
            (ROOT / "hparams/attacks/standard.yaml").read_text() + "\n",
        )
    )
    output = tmp_path / "small.json"
    again = ["audit", str(tmp_path / "run"), f"--output={output}"]
    assert main([*again, "--attackers", str(small)]) == 0
    capsys.readouterr()
    found = json.loads(output.read_text())["taps"]["encoder"]
    assert found["speaker"] and "gender" not in found
    for attackers, why in (
        ("thorogh", "are standard, thorough or a YAML file, not 'thorogh'"),
        (str(ROOT / "hparams/bottlenecks.yaml"), "under 'speaker'"),
    ):
        assert main([*again, "--attackers", attackers]) == 2
        assert why in capsys.readouterr().err
    described = tmp_path / "described.json"
    told = main(
        [
            "represent",
            str(tmp_path / "run"),
            f"--alignments={alignment}",
            "--taps=first=objective.network.encoder.layers.layers.0,"
            "last=objective.network.encoder",
            "--clusters=4",
            f"--json={described}",
        ]
    )
    assert told == 0, capsys.readouterr().err
    taps = json.loads(described.read_text())["taps"]
    assert taps["first"]["rankme"] > 1
    assert 0 <= taps["last"]["clusters"]["pnmi"] <= 1
    assert 0 < taps["last"]["cka"]["first"] <= 1
    for tap in taps.values():
        assert 0 < tap["alignment_views"] < 4 and tap["lidar_views"] >= 1
    assert "RankMe" in capsys.readouterr().out
    # Speech that nothing else is known of, and an earlier encoder.
    [last] = (tmp_path / "run/save").glob("CKPT*/encoder.ckpt")
    first = tmp_path / "first.ckpt"
    weights = torch.load(last)
    torch.save({name: 2.0 * x for name, x in weights.items()}, first)
    bare = tmp_path / "bare.csv"
    rows = [
        line.split(",")[:3] for line in paths["test"].read_text().splitlines()
    ]
    assert rows[0] == ["ID", "duration", "wav"]
    bare.write_text("\n".join(map(",".join, rows)))
    asked = ["represent", str(tmp_path / "run"), f"--manifest={bare}"]
    asked += [f"--weights={first}", f"--json={described}", "--views=2"]
    assert main([*asked, f"--data_folder={folder}"]) == 0
    told = capsys.readouterr().out
    assert "lidar_speakers of encoder: the manifest does not say" in told
    earlier = json.loads(described.read_text())["taps"]["encoder"]
    assert earlier["lidar_views"] >= 1
    assert main([*asked[:2], "--views=0", f"--json={described}"]) == 0
    alone = json.loads(described.read_text())["taps"]["encoder"]
    assert "lidar_views" not in alone and "rankme" in alone
    assert main([*asked[:2], "--views=-1"]) == 2
    assert "views is 0 or more, not -1" in capsys.readouterr().err
    assert earlier["rankme"] != taps["last"]["rankme"]
    taken_away(tmp_path / "run")


def taken_away(folder):
    """Somebody else's model begins with the run's encoder."""
    brain, data, _ = reopen(folder)
    batch = PaddedBatch(list(data.datasets["test"])[:3])
    brain.modules.eval()
    latest = []
    inside = brain.modules.objective.network.encoder
    handle = inside.register_forward_hook(lambda *a: latest.append(a[-1]))
    with torch.no_grad():
        brain.represent(batch)
    handle.remove()
    wanted, lengths = latest[0]

    frozen = TrainedEncoder.from_pretrained(folder).train()
    hidden, its_lengths = frozen(*batch.sig)
    # Rounding may depend on where in memory a tensor lies.
    assert torch.allclose(hidden, wanted, atol=1e-5)
    assert torch.equal(its_lengths, lengths)
    assert not hidden.requires_grad and frozen.output_size == 16
    learning = TrainedEncoder(folder, freeze=False).train()
    alone, _ = learning(batch.sig.data[:1, :4000])
    alone.sum().backward()
    assert all(p.grad is not None for p in learning.parameters())
    assert learning.grid == inside.grid

    (checkpoint,) = (folder / "save").glob("CKPT*")
    checkpoint.rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match="no checkpoint of an encoder"):
        TrainedEncoder(folder)


def test_a_recipe_learns_tones(toy_corpus, tmp_path, monkeypatch, capsys):
    """Seconds of training, and the words of new speakers are recognised."""
    # So long that YAML breaks the line.
    tmp_path = tmp_path / "a_folder_with_a_name" / "longer_than_usual"
    tmp_path.mkdir(parents=True)
    done = run(
        "MiniSpeech/ASR/CTC",
        "conformer",
        "--model={d_model: 48, num_layers: 1, d_ffn: 48, dropout: 0.0}",
        "--attack={epochs: 6, batch_size: 4}",
        "--number_of_epochs=60",
        "--lr=0.004",
        "--augment_from=0.99",
        "--batch_seconds=4",
        "--device=cpu",
        "--noprogressbar",
        *own_corpus(toy_corpus),
        f"--output_folder={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stdout[-3000:]
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["WER"]["value"] < 40.0
    assert "adversaries" not in results  # no manifest of seen speakers
    assert results["fairness"]["gender"]["rates"]["gap"]["n_speakers"] == 4
    audit_again(tmp_path, toy_corpus, monkeypatch, capsys)


def audit_again(folder, toy, monkeypatch, capsys):
    """The finished run, moved, from elsewhere, by the thorough suite."""
    suite = (ROOT / "hparams/attacks/thorough.yaml").read_text()
    for key, value in (("epochs", 3), ("batch_size", 4), ("channels", 8)):
        suite, n = re.subn(rf"(?m)^{key}: \d+$", f"{key}: {value}", suite)
        assert n == 1
    (folder / "suite.yaml").write_text(suite)
    shutil.copy(ROOT / "hparams/attacks/standard.yaml", folder)
    (folder / "run").rename(folder / "moved")
    monkeypatch.chdir(folder)
    before = json.loads((folder / "moved/audit.json").read_text())
    corpus, paths = toy
    # The same audio once more, as another corpus of which little is known.
    with paths["train"].open(newline="") as file:
        lines = [
            f"x{r['ID']},{r['duration']},{r['wav']},x{r['spk_id']}"
            for r in csv.DictReader(file)
        ]
    (folder / "more.csv").write_text(
        "\n".join(["ID,duration,wav,spk_id", *lines, ""])
    )
    options = [
        *("--attackers=suite.yaml", "--cache=cache", "--seed=3"),
        *("--attacker_data", "more.csv", str(corpus)),
        "--unprotected=moved",
        "--taps=first=encoder.layers.layers.0",
    ]
    assert main(["audit", "moved", *options, "--output=b.json"]) == 0
    assert json.loads((folder / "moved/audit.json").read_text()) == before
    again = json.loads((folder / "b.json").read_text())
    assert again["seed"] == 3 and again["suite"]["speeds"] == [1.0, 0.9, 1.1]
    tdnn = again["attackers"]["speaker"]["tdnn"]["SpeakerAttacker"]
    assert tdnn["embedder"]["NetworkAttacker"]["epochs"] == 3
    assert again["test"] == before["test"]
    assert again["train"]["manifest"] == "train.csv + more.csv"
    assert set(again["taps"]) - set(before["taps"]) == {"first"}
    assert "encoder" in again["taps"] and again["taps"]["first"]["speaker"]
    assert again["train"]["speakers"] == 2 * before["train"]["speakers"]
    # Every tap of a recogniser, at its own rate; a manifest without words.
    described = ["represent", "moved", "--manifest=more.csv", "--clusters=3"]
    assert main([*described, f"--data_folder={corpus}", "--json=d.json"]) == 0
    told = json.loads((folder / "d.json").read_text())["taps"]
    (folder / "d.json").unlink()
    assert set(told) == {"logmel", "encoder", "posteriors"}
    for tap in told.values():
        assert all(isinstance(x, float) for x in tap["cka"].values()), tap
    raw = again["controls"]["waveform"]["attackers"]
    assert {"raw-cosine", "raw-plda", "raw-snorm", "fusion"} == set(raw)
    # Against itself nothing is protected.
    unaware = again["unaware"]["encoder"]
    eers = {
        name: attack["attackers"]["statistics-plda"]["all"]["overall"]["eer"]
        for name, attack in unaware.items()
    }
    assert list(eers) == ["unprotected", "ignorant", "aligned", "lazy-informed"]
    # Few utterances leave the rotation some freedom.
    del eers["aligned"]
    assert len({round(rate, 6) for rate in eers.values()}) == 1
    for tap in before["taps"]:
        found = again["taps"][tap]["speaker"]["attackers"]
        assert {"statistics-plda", "ecapa-snorm", "tdnn-snorm"} <= set(found)
    assert sorted(p.name for p in folder.iterdir()) == [
        "b.json",
        "cache",
        "more.csv",
        "moved",
        "standard.yaml",
        "suite.yaml",
    ]
    assert main(["audit", "moved", *options, "--attacker_data", *"abc"]) == 2
    assert "--attacker_data is a manifest and" in capsys.readouterr().err
    for tap, why in (
        ("encoder=head", "has a tap 'encoder' already"),
        ("first=encoder.layer", "tap 'first': .*encoder.layer"),
    ):
        assert main(["audit", "moved", *options, f"--taps={tap}"]) == 2
        assert re.search(why, capsys.readouterr().err)
    (folder / "moved/hyperparams.yaml").rename(folder / "lost.yaml")
    assert main(["audit", "moved", *options]) == 2
    assert "holds no hyperparams.yaml" in capsys.readouterr().err


def test_the_minispeech_recipe_makes_its_corpus(tmp_path, monkeypatch):
    from speechbrain_privacy.dataio.minispeech import Settings, make_minispeech

    corpus = make_minispeech(
        Settings(n_speakers=28, n_utterances=4),
        tmp_path / "corpus",
        progressbar=False,
    )
    done = run(
        "MiniSpeech/ASR/CTC",
        "conformer_adversarial",
        *TINY,
        f"--data_folder={corpus}",
        "--number_of_epochs=1",
        f"--output_folder={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stdout[-3000:]
    found = json.loads((tmp_path / "out/results.json").read_text())
    accuracy = found["adversaries"]["accuracy"]
    assert found["adversaries"]["utterances"] == 4
    assert len(accuracy) == 7 and "speaker_pairs" not in accuracy


def test_two_processes_end_in_one_result(toy_corpus, tmp_path):
    done = run(
        "MiniSpeech/ASR/CTC",
        "conformer_adversarial",
        *TINY,
        "--number_of_epochs=2",
        "--adversary_steps=2",
        "--adversary={reinit_every: 2}",
        *own_corpus(toy_corpus),
        f"--seen_manifest={toy_corpus[1]['train']}",
        f"--output_folder={tmp_path}",
        processes=2,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "audit.json").is_file()
    assert len((tmp_path / "train_log.txt").read_text().splitlines()) == 2
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["adversaries"]["utterances"] == 16
    assert found["adversaries"]["chance"] == {"spk_id": 0.25, "gender": 0.5}


def test_a_teacher_that_is_nowhere_is_told_before_the_first_generation(
    toy_corpus, tmp_path
):
    done = run(
        "MiniSpeech/self-supervised-learning/hubert",
        "hubert",
        *TINY,
        "--n_clusters=4",
        "--targets={teacher: {module: objective.nowhere}}",
        "--alignments=null",
        "--reader=null",
        *own_corpus(toy_corpus),
        f"--output_folder={tmp_path}",
    )
    assert done.returncode != 0
    assert "teacher" in done.stdout.split("ValueError: ")[1]
    assert not list(tmp_path.rglob("train_log.txt"))


@pytest.mark.parametrize("yaml", ["pretrained", "conformer"])
def test_two_processes_learn_what_one_does(yaml, toy_corpus, tmp_path):
    """An epoch is one step of four batches, whoever has them."""
    from speechbrain_privacy.integrations.huggingface import write_tiny

    source = tmp_path / "tiny"
    write_tiny(source, "hubert", hidden_size=16, conv_dim=8, dropout=0.0)
    given = {
        "pretrained": (
            f"--model={{source: {source}, d_model: 16, lr_decay: 0.5, "
            "spec_augment: false}",
            "--layer=1",
        ),
        "conformer": (
            "--model={d_model: 16, num_layers: 1, d_ffn: 16, dropout: 0.0}",
            "--augment_from=1.0",
        ),
    }[yaml]
    weights, losses = [], []
    for processes, accumulated in ((1, 4), (2, 2)):
        folder = tmp_path / str(processes)
        done = run(
            "AN4/ASR/CTC",
            yaml,
            *given,
            "--augmentation={speeds: [100]}",
            "--attack={epochs: 8, batch_size: 4}",
            "--batch_seconds=5",
            "--lr=0.02",
            "--number_of_epochs=4",
            f"--grad_accumulation_factor={accumulated}",
            "--device=cpu",
            "--noprogressbar",
            *own_corpus(toy_corpus),
            f"--output_folder={folder}",
            processes=processes,
            timeout=400,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        spent = json.loads((folder / "efficiency.json").read_text())
        assert spent["steps"] == 16
        lines = (folder / "train_log.txt").read_text().splitlines()
        losses.append(
            [float(x.split("train ctc: ")[1].split(" ")[0]) for x in lines]
        )
        (last,) = (folder / "save").glob("CKPT*")
        weights.append(
            {
                f"{part} {name}": weight
                for part in ("encoder", "head")
                for name, weight in torch.load(
                    last / f"{part}.ckpt", weights_only=True
                ).items()
            }
        )
    # The log has three digits.
    assert losses[0][-1] < losses[0][0] - 0.1
    assert losses[1] == pytest.approx(losses[0], abs=0.011)
    assert weights[0].keys() == weights[1].keys()
    # Where a gradient is hardly more than rounding, Adam makes steps of it;
    # a batch too many or too few moves all weights by more than 0.001.
    for name, weight in weights[0].items():
        apart = (weight.double() - weights[1][name].double()).abs()
        assert float(apart.median()) < 1e-5, name
        assert float(apart.mean()) < 1e-4, name


def test_mixed_precision_trains(toy_corpus, tmp_path):
    done = run(
        "MiniSpeech/ASR/CTC",
        "conformer_adversarial",
        *TINY,
        "--number_of_epochs=2",
        "--precision=bf16",
        *own_corpus(toy_corpus),
        f"--output_folder={tmp_path}",
    )
    assert done.returncode == 0, done.stdout[-3000:]
    (last,) = (tmp_path / "save").glob("CKPT*")
    weights = torch.load(last / "encoder.ckpt", weights_only=True)
    assert all(torch.isfinite(w).all() for w in weights.values())


@pytest.mark.parametrize(
    "change, message",
    [
        ([], "does not exist: --data_folder"),
        (
            ["--train_manifest=/nowhere.csv"],
            "give train_manifest, valid_manifest and test_manifest together",
        ),
    ],
)
def test_missing_data_is_one_sentence(change, message, tmp_path):
    done = run("AN4/ASR/CTC", "conformer", f"--output_folder={tmp_path}", *[
        "--data_folder=/nowhere", *change
    ])  # fmt: skip
    assert done.returncode == 1
    assert message in done.stdout
    assert not list(tmp_path.rglob("*.csv"))


def test_beam_search_decodes(toy_corpus, tmp_path, capsys):
    done = run(
        "MiniSpeech/ASR/CTC",
        "conformer",
        *TINY,
        "--number_of_epochs=1",
        "--searcher=!name:speechbrain.decoders.ctc.CTCBeamSearcher",
        *own_corpus(toy_corpus),
        f"--output_folder={tmp_path}",
    )
    assert done.returncode == 0, done.stdout[-3000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["decoding"] == "beam search"
    assert main(["export", str(tmp_path), str(tmp_path / "out")]) == 0
    assert "beam search is not in it" in capsys.readouterr().out


def test_from_labelled_speech_to_a_multitask_recipe(toy_corpus, tmp_path):
    folder, paths = toy_corpus
    recipe = "MiniSpeech/self-supervised-learning/multitask"
    given = ROOT / "recipes" / recipe / "hparams"
    made = tmp_path / "speakers.yaml"
    asked = ["pretext", str(paths["train"]), f"--data_folder={folder}"]
    asked += ["--least=2", f"--json={tmp_path / 'weights.json'}"]
    asked += ["--recipe", str(given / "multitask.yaml"), str(made)]
    assert main(asked) == 0
    done = run(
        recipe,
        os.path.relpath(made.with_suffix(""), given),
        *TINY,
        "--number_of_epochs=2",
        "--alignments=null",
        "--reader=null",
        *own_corpus(toy_corpus),
        f"--output_folder={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["name"] == "speakers_fixed"
    found = json.loads((tmp_path / "weights.json").read_text())["weights"]
    log = (tmp_path / "out" / "train_log.txt").read_text()
    used = {task for task, w in found.items() if round(w, 4) > 0}
    assert {task for task in found if f"train {task}: " in log} == used


@pytest.mark.parametrize(
    ("recipe", "yaml", "further"),
    [
        (
            "bestrq",
            "bestrq_informed",
            ("--adversaries=both", "--alignments={aligned}"),
        ),
        ("wavlm", "wavlm", ("--n_clusters=6", "--alignments=null")),
        (
            "spin",
            "spin",
            ("--pretrained=null", "--adversaries=gender", "--alignments=null"),
        ),
    ],
)
def test_pre_training_in_two_processes(
    toy_corpus, tmp_path, recipe, yaml, further
):
    """Targets made once, adversaries and frozen layers alike, in bf16."""
    alignment = aligned(toy_corpus[1], tmp_path / "a.csv")
    further = [option.format(aligned=alignment) for option in further]
    done = run(
        f"MiniSpeech/self-supervised-learning/{recipe}",
        yaml,
        "--model={d_model: 16, num_layers: 2, d_ffn: 16}",
        "--attack={epochs: 8, batch_size: 4}",
        "--batch_seconds=8",
        "--number_of_epochs=2",
        "--reader=null",
        "--precision=bf16",
        "--device=cpu",
        "--noprogressbar",
        *further,
        *own_corpus(toy_corpus),
        f"--output_folder={tmp_path}",
        processes=2,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    log = (tmp_path / "train_log.txt").read_text().splitlines()
    assert len(log) == 2
    assert (tmp_path / "audit.json").is_file()
    spent = json.loads((tmp_path / "efficiency.json").read_text())
    heard = float(log[-1].split("audio hours: ")[1].split()[0].strip(","))
    # Both processes' speech, and in generations that of the teacher.
    with toy_corpus[1]["train"].open(newline="") as file:
        seconds = sum(float(row["duration"]) for row in csv.DictReader(file))
    epochs = 4 if recipe == "wavlm" else 2
    assert spent["audio_seconds"] == pytest.approx(3600 * heard, rel=0.01)
    assert spent["audio_seconds"] == pytest.approx(epochs * seconds, rel=0.35)
    if recipe == "wavlm":  # both processes' units
        assert spent["before"].keys() == {"teacher", "units"}
        assert spent["before"]["units"]["flops"] > 0
    (last,) = (tmp_path / "save").glob("CKPT*")
    weights = torch.load(last / "encoder.ckpt", weights_only=True)
    assert all(torch.isfinite(w).all() for w in weights.values())
    results = json.loads((tmp_path / "results.json").read_text())
    if "--alignments=null" not in further:  # asked of one process alone
        (point,) = results["curve"]
        assert point["flops"] == spent["flops"] > 0


def test_a_moment_and_silence_among_all_speech(toy_corpus, tmp_path):
    """Units, teachers, adversaries, readers, probes and attackers meet them."""
    folder, paths = toy_corpus
    given = {}
    for split, path in paths.items():
        rows = list(csv.DictReader(path.open(newline="")))
        for row, n in ((rows[0], 100), (rows[1], 8000)):
            name = f"{split}-{n}"
            wav = tmp_path / f"{name}.wav"
            soundfile.write(wav, np.zeros(n), 16000)
            rows.append(
                {**row, "ID": name, "duration": n / 16000, "wav": str(wav)}
            )
        given[split] = tmp_path / f"{split}.csv"
        with given[split].open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    done = run(
        "MiniSpeech/self-supervised-learning/hubert",
        "hubert",
        "--model={d_model: 16, num_layers: 2, d_ffn: 16}",
        *TINY[1:],
        "--number_of_epochs=2",
        "--n_clusters=6",
        "--adversaries=both",
        "--masking={silence: 0.2}",
        "--mask=segments",
        "--reader_epochs=1",
        f"--alignments={aligned(given, tmp_path / 'a.csv')}",
        *own_corpus((folder, given)),
        f"--output_folder={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    log = (tmp_path / "out/train_log.txt").read_text()
    assert "nan" not in log and log.count("train hidden") == 2
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert 0 < results["phones"]["encoder"]["error"]["value"] < 100
    assert results["characters"]["encoder"].keys() == {"linear", "bilstm"}
    tried = json.loads((tmp_path / "out/audit.json").read_text())["test"]
    assert tried["utterances"] == sum(1 for _ in given["test"].open()) - 1


def test_speech_without_labels_beside_some_that_has_them(toy_corpus, tmp_path):
    folder, paths = toy_corpus
    plain = {}
    for split in ("train", "valid"):
        rows = list(csv.DictReader(paths[split].open(newline="")))
        plain[split] = tmp_path / f"{split}.csv"
        with plain[split].open("w", newline="") as file:
            writer = csv.DictWriter(
                file, ["ID", "duration", "wav"], extrasaction="ignore"
            )
            writer.writeheader()
            writer.writerows(rows)
    done = run(
        "MiniSpeech/self-supervised-learning/bestrq",
        "bestrq",
        *TINY,
        "--number_of_epochs=1",
        "--reader=null",
        f"--alignments={aligned(paths, tmp_path / 'a.csv')}",
        f"--data_folder={folder}",
        f"--train_manifest={plain['train']}",
        f"--valid_manifest={plain['valid']}",
        f"--test_manifest={paths['test']}",
        f"--learn_manifest={paths['train']}",
        f"--output_folder={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["phones"]["encoder"]["error"]["value"] < 100
    audit = json.loads((tmp_path / "out/audit.json").read_text())
    assert {"speaker", "gender"} <= set(audit["taps"]["encoder"])


def test_noise_keeps_its_promise(toy_corpus, tmp_path, capsys):
    folder = tmp_path / "run"
    done = run(
        "MiniSpeech/ASR/CTC",
        "conformer_bottleneck",
        *TINY,
        "--number_of_epochs=1",
        "--bottleneck=laplace",
        "--epsilon=2.0",
        *own_corpus(toy_corpus),
        f"--output_folder={folder}",
    )
    assert done.returncode == 0, done.stdout[-3000:]
    command = ["epsilon", str(folder), "--draws=20000", "--json"]
    assert main([*command, str(tmp_path / "e.json")]) == 0
    assert "conformer_laplace  worst" in capsys.readouterr().out
    (found,) = json.loads((tmp_path / "e.json").read_text())
    pairs = found["pairs"]
    assert pairs["real"]["distance"] < pairs["worst"]["distance"] == 2.0
    assert 1.5 < pairs["worst"]["proven"] <= found["epsilon"] == 2.0
    assert pairs["real"]["proven"] <= pairs["real"]["distance"]
    assert main([*command, str(tmp_path / "e.json"), "--at", "0.5", "1"]) == 0
    some = json.loads((tmp_path / "e.json").read_text())
    assert [found["epsilon"] for found in some] == [0.5, 1.0]
    assert 0 < some[0]["pairs"]["worst"]["proven"] <= 0.5


def test_a_pretrained_encoder_becomes_a_recognisers(toy_corpus, tmp_path):
    """By one line; at a learning rate of 0 it stays what it was."""
    sizes = "d_model: 16, num_layers: 1, d_ffn: 16, frontend: patches"
    given = (*TINY[1:], *own_corpus(toy_corpus), "--number_of_epochs=1")
    done = run(
        "AN4/self-supervised-learning/bestrq",
        "bestrq",
        f"--model={{{sizes}}}",
        "--alignments=null",
        "--reader=null",
        *given,
        f"--output_folder={tmp_path / 'before'}",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    (trained,) = (tmp_path / "before/save").glob("CKPT*/encoder.ckpt")
    done = run(
        "AN4/ASR/CTC",
        "conformer",
        f"--model={{weights: {trained}, {sizes}, places: true}}",
        "--lr=0",
        *given,
        f"--output_folder={tmp_path / 'after'}",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    before, after = (
        json.loads((tmp_path / f"{name}/efficiency.json").read_text())
        for name in ("before", "after")
    )
    assert after["before"]["weights"]["flops"] == before["flops"] > 0
    assert after["flops"] > before["flops"]
    (after,) = (tmp_path / "after/save").glob("CKPT*/encoder.ckpt")
    before, after = torch.load(trained), torch.load(after)
    assert before.keys() == after.keys() and len(before) > 20
    for name, tensor in before.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(tensor, after[name]), name


def test_masks_of_a_learnt_detector_and_its_run_reopened(toy_corpus, tmp_path):
    corpus, paths = toy_corpus
    # What is found is kept beside the manifests.
    given = {
        split: shutil.copy(path, tmp_path) for split, path in paths.items()
    }
    own = own_corpus((corpus, given))
    done = run(
        "MiniSpeech/boundaries",
        "next_frame",
        "--alignments=null",
        "--number_of_epochs=1",
        *TINY[2:],
        *own,
        f"--output_folder={tmp_path / 'detector'}",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert not (tmp_path / "detector/boundaries.json").exists()
    learnt = tmp_path / "detector"
    with pytest.raises(ValueError, match="has trained no encoder that can be"):
        reopen(tmp_path / "detector")
    done = run(
        "AN4/self-supervised-learning/bestrq",
        "bestrq",
        *TINY,
        "--mask=segments",
        f"--masking={{detector: learnt, learnt_from: {learnt}, silence: 0.2}}",
        "--number_of_epochs=1",
        "--alignments=null",
        "--reader=null",
        *own,
        f"--output_folder={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    # A detector's file has a name of its own weights.
    [kept] = tmp_path.glob("train.learnt-7*.npz")
    assert len(kept.stem) == len("train.learnt-7-01234567")
    before = json.loads((tmp_path / "run/efficiency.json").read_text())[
        "before"
    ]
    assert before["boundaries"]["flops"] > 0
    assert before["detector"]["steps"] > 0
    # The detector is for those who train.
    shutil.rmtree(learnt)
    brain, *_ = reopen(tmp_path / "run")
    assert brain.epoch_counter.current == 1
