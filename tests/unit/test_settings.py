"""A run goes on with the settings that it began with."""

import re

import pytest
import speechbrain as sb
from hyperpyyaml import resolve_references

from speechbrain_privacy.dataio.settings import (
    check_overrides,
    check_settings,
    flat,
    training_settings,
)
from tests.conftest import ROOT

BLOCK = """\
weight: 0.5
size: 3
"""
RECIPE = """\
# A recipe.
seed: 1
output_folder: !ref results/<seed>
number_of_epochs: 3
lr: 0.1
adversary: !include:block.yaml
    size: 4
table: {a: 1}
pretrained: first/encoder.ckpt
data_folder: corpus
phones: !ref <data_folder>/phones.csv
log: !ref <output_folder>/log.txt
speeds: [90, 100, 110]
epoch_counter: !new:speechbrain.utils.epoch_loop.EpochCounter
    limit: !ref <number_of_epochs>
kept:
    counter: !ref <epoch_counter>
linear: !new:torch.nn.Linear
    in_features: !ref <adversary[size]>
    out_features: 2
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "block.yaml").write_text(BLOCK)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def begin(recipe, overrides=""):
    """What every ``train.py`` does first."""
    folder = recipe.parent / "run"
    check_settings(str(recipe), overrides, folder)
    sb.create_experiment_directory(str(folder), str(recipe), overrides)
    return (folder / "hyperparams.yaml").read_text()


def test_a_trained_run_refuses_other_settings(recipe):
    before = begin(recipe, "adversary: {weight: 0.7}")
    # Nothing has been trained yet: anything goes.
    assert begin(recipe) != before
    (recipe.parent / "run/save/CKPT+1").mkdir(parents=True)
    kept = begin(recipe)
    for overrides, message in (
        ("adversary: {weight: 0.7}", "adversary.weight 0.5, not 0.7"),
        ("lr: 0.2", "lr 0.1, not 0.2"),
        ({"adversary": {"size": 5}}, "adversary.size 4, not 5"),
        # The same name in another folder is another file.
        ("pretrained: second/encoder.ckpt", "not second/encoder.ckpt"),
        ("phones: elsewhere/phones.csv", "not elsewhere/phones.csv"),
    ):
        with pytest.raises(ValueError, match=message):
            begin(recipe, overrides)
        # What was there is not written over.
        text = (recipe.parent / "run/hyperparams.yaml").read_text()
        assert text == kept
    # The same folders, moved or written otherwise.
    begin(recipe, {"data_folder": "/moved/corpus"})
    begin(recipe, {"output_folder": str(recipe.parent / "run")})
    # Further, or with a version that knows more settings.
    begin(recipe, "number_of_epochs: 9")
    with pytest.raises(ValueError, match="of 9 epochs, which may become more"):
        begin(recipe, "number_of_epochs: 8")
    recipe.write_text(RECIPE.replace("epochs: 3", "epochs: 9"))
    (recipe.parent / "block.yaml").write_text(BLOCK + "new: 1\n")
    begin(recipe)
    recipe.write_text(RECIPE.replace("epochs: 3", "epochs: 9") + "balance: 0\n")
    with pytest.raises(ValueError, match="or version, that had no balance"):
        begin(recipe, "balance: gender")
    begin(recipe)


def test_overrides_of_what_is_not_there_are_refused(recipe):
    check_overrides(recipe, "adversary: {weight: 1.0, size: 2}\nseed: 3")
    check_overrides(recipe, {"table": {"a": 2}, "linear": {"bias": False}})
    with pytest.raises(ValueError, match=r"--adversary: 'wait' is none of"):
        check_overrides(recipe, "adversary: {wait: 1.0}")
    with pytest.raises(ValueError, match=r"--table: 'b' is none of"):
        check_overrides(recipe, {"table": {"b": 2}})
    with pytest.raises(
        ValueError, match=r"--seeds is none .*mean speeds, seed"
    ):
        check_overrides(recipe, "seeds: 2")
    with pytest.raises(
        ValueError, match=r"--xyz is none of .*recipe.yaml: seed"
    ):
        check_overrides(recipe, "xyz: 2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("seed: ten", r"--seed is 'ten', not a number as 1 is"),
        ("lr: fast", r"--lr is 'fast', not a number as 0.5 is"),
        ("block: {size: big}", r"--block: size is 'big', not a number"),
    ],
)
def test_what_is_a_number_takes_no_words(given, message, tmp_path):
    recipe = tmp_path / "a.yaml"
    recipe.write_text("seed: 1\nlr: 0.5\nblock:\n    size: 3\non: true\n")
    check_overrides(recipe, "seed: 2\nlr: 1\nblock: {size: 4}\non: false")
    check_overrides(recipe, "seed: null\nlr: !ref <seed>\nblock: null")
    with pytest.raises(ValueError, match=message):
        check_overrides(recipe, given)


def test_more_epochs_may_follow_wherever_they_are_counted(recipe, tmp_path):
    run = f"output_folder: {tmp_path / 'run'}\n"
    begin(recipe, run)
    (tmp_path / "run/save/CKPT+1").mkdir(parents=True)
    begin(recipe, f"{run}number_of_epochs: 7\n")


def test_a_list_is_one_value(recipe, tmp_path):
    run = f"output_folder: {tmp_path / 'run'}\n"
    begin(recipe, run)
    (tmp_path / "run/save/CKPT+1").mkdir(parents=True)
    for other in ("[90]", "[90, 100, 110, 120]"):
        with pytest.raises(ValueError, match=r"speeds \[90, 100, 110\], not"):
            begin(recipe, f"{run}speeds: {other}\n")


def test_repetitions_have_the_same_settings(recipe):
    def trained(*overrides):
        begin(recipe, "\n".join(overrides))
        return training_settings(recipe.parent / "run")

    first = trained("seed: 1")
    assert first["adversary.weight"] == "0.5" and first["lr"] == "0.1"
    assert first["number_of_epochs"] == "3"
    assert {"seed", "output_folder", "log", "phones"} & first.keys() == set()
    for same in (
        "seed: 2",
        "data_folder: elsewhere",
        "pretrained: second/encoder.ckpt",
        "output_folder: elsewhere",
    ):
        assert trained(same) == first
    for other in (
        "lr: 0.2",
        "adversary: {weight: 1}",
        "number_of_epochs: 4",
        "pretrained: null",
    ):
        assert trained(other) != first
    # A block that is empty is none that is left out.
    assert flat({"lora": {}, "a": 1}) == {"lora": "{}", "a": "1"}


RECIPES = sorted((ROOT / "recipes").glob("**/hparams/*.yaml"))


@pytest.mark.parametrize(
    "path", RECIPES, ids=lambda p: str(p.relative_to(ROOT))
)
def test_recipes_are_repeated_with_other_seeds_in_other_folders(path, tmp_path):
    placeholders = dict.fromkeys(
        re.findall(r"(?m)^(\w+): !PLACEHOLDER", path.read_text()),
        "run/save/CKPT+1/encoder.ckpt",
    )

    def settings(**given):
        with open(path) as file:
            text = resolve_references(file, {**placeholders, **given})
        (tmp_path / "hyperparams.yaml").write_text(text.getvalue())
        return training_settings(tmp_path)

    first = settings(data_folder="here", seed=1)
    assert len(first) > 20
    assert settings(data_folder="/there", seed=2, output_folder="/x") == first
    assert settings(data_folder="here", seed=1, batch_seconds=1.5) != first
