"""Recipes as SpeechBrain's own tree would have them."""

import csv
import shlex
import subprocess
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))

from assemble import (  # noqa: E402
    assemble,
    inlined,
    main,
    problems,
    same_settings,
)

RECIPES = sorted(
    str(path.parent.relative_to(ROOT))
    for path in (ROOT / "recipes").rglob("train.py")
)


def rows(tree):
    (table,) = (tree / "tests/recipes").glob("*.csv")
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_keeps_the_rules_and_its_values(recipe, tmp_path):
    assemble(ROOT / recipe, tmp_path / "out")
    assert problems(tmp_path / "out", linters=()) == []
    assert not (tmp_path / "out" / recipe / "train.py").is_symlink()
    for row in rows(tmp_path / "out"):
        name = row["Hparam_file"]
        assert same_settings(
            ROOT / name, tmp_path / "out" / name, row["test_debug_flags"]
        ), name


def test_an_assembled_recipe_runs_in_its_own_tree(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["recipes/AN4/ASR/CTC", str(out)]) == 0
    assert "0 problems" in capsys.readouterr().out
    needed = (out / "recipes/AN4/ASR/CTC/extra_requirements.txt").read_text()
    assert needed == "speechbrain-privacy[hf]\n"
    (row,) = (
        r for r in rows(out) if r["Hparam_file"].endswith("/conformer.yaml")
    )
    done = subprocess.run(
        [
            sys.executable,
            row["Script_file"],
            row["Hparam_file"],
            f"--output_folder={tmp_path / 'run'}",
            "--device=cpu",
            "--model={d_model: 16, num_layers: 1, d_ffn: 16}",
            *shlex.split(row["test_debug_flags"]),
        ],
        cwd=out,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert (tmp_path / "run/audit.json").is_file()


@pytest.fixture
def tree(tmp_path):
    assemble(ROOT / "recipes/MiniSpeech/ASR/CTC", tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("seed: 1234\n", "seed: 1234\nidle: 3\n"), "nobody uses 'idle'"),
        (("data_folder:", "corpus:"), "has no data_folder"),
        (("manifest_folder:", "manifests:"), "train.py wants"),
        (("model:\n", "model: !include:../x.yaml\n"), "includes another file"),
    ],
)
def test_what_breaks_a_rule_is_told(tree, change, said):
    path = tree / "recipes/MiniSpeech/ASR/CTC/hparams/conformer.yaml"
    text = path.read_text()
    if "include" in change[1]:
        text = text[: text.index("model:\n")] + change[1]
    else:
        text = text.replace(*change, 1)
    path.write_text(text)
    assert any(said in problem for problem in problems(tree, linters=()))


def test_files_that_are_missing_or_in_no_table_are_told(tree):
    folder = tree / "recipes/MiniSpeech/ASR/CTC"
    (folder / "hparams/further.yaml").write_text("data_folder: x\n")
    (folder / "README.md").unlink()
    found = problems(tree, linters=())
    assert any("further.yaml: is in no table" in some for some in found)
    assert any("README.md is not there" in some for some in found)
    (folder / "train.py").write_text("import os\n")
    assert any("F401" in some for some in problems(tree))


def test_nothing_is_written_over_and_a_recipe_it_must_be(tree, capsys):
    assert main(["recipes/MiniSpeech/ASR/CTC", str(tree)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["recipes/MiniSpeech", str(tree / "new")]) == 2
    assert "no train.py" in capsys.readouterr().err


def test_a_block_takes_values_and_keeps_its_own_names(tmp_path):
    (tmp_path / "block.yaml").write_text(
        "# What it is.\n"
        "size: 3\n"
        "other: 4\n"
        "\n"
        "# A list.\n"
        "both: [!ref <size>, !ref <other>]\n"
        "made: !new:torch.nn.Linear\n"
        "    in_features: !ref <size>\n"
        "    out_features: !ref <made_of[x]>\n"
    )
    text = (
        "size: 9\n"
        "block: !include:block.yaml\n"
        "    other: !ref <size>\n"
        "\n"
        "after: !ref <block[made]>\n"
    )
    assert inlined(text, tmp_path) == (
        "size: 9\n"
        "block:\n"
        "    # What it is.\n"
        "    size: 3\n"
        "    other: !ref <size>\n"
        "\n"
        "    # A list.\n"
        '    both: [!ref "<block[size]>", !ref "<block[other]>"]\n'
        "    made: !new:torch.nn.Linear\n"
        "        in_features: !ref <block[size]>\n"
        "        out_features: !ref <made_of[x]>\n"
        "\n"
        "after: !ref <block[made]>\n"
    )
    with pytest.raises(ValueError, match="has no unknown"):
        inlined("b: !include:block.yaml\n    unknown: 1\n", tmp_path)
