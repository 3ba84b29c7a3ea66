"""SpeechBrain's rules for recipes, and this project's own."""

import csv
import re
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))

from assemble import (  # noqa: E402
    HEADER,
    missing_keys,
    unused_keys,
    used_in,
)

TABLES = sorted((ROOT / "tests/recipes").glob("*.csv"))
YAMLS = sorted((ROOT / "recipes").rglob("*.yaml"))
BLOCKS = sorted((ROOT / "hparams").rglob("*.yaml"))


def rows():
    for path in TABLES:
        with open(path, newline="") as file:
            yield from csv.DictReader(file)


def relative(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("table", TABLES, ids=lambda p: p.name)
def test_tables_have_upstreams_columns_and_existing_files(table):
    with open(table, newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == HEADER
        for row in reader:
            assert row["Dataset"] == table.stem
            for column in HEADER[2:6]:
                assert (ROOT / row[column]).is_file(), row[column]
            assert "file_exists=[" in row["test_debug_checks"]


def test_every_yaml_and_script_is_in_a_table_once():
    listed = [row["Hparam_file"] for row in rows()]
    assert sorted(listed) == [relative(path) for path in YAMLS]
    scripts = {row["Script_file"] for row in rows()}
    found = {relative(p) for p in (ROOT / "recipes").rglob("train.py")}
    assert scripts == found


def top_level(path):
    """Keys of a YAML file that begin a line."""
    return re.findall(r"^([A-Za-z_]\w*):", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("row", list(rows()), ids=lambda r: r["Hparam_file"])
def test_every_key_of_a_recipe_is_used(row):
    text = (ROOT / row["Hparam_file"]).read_text()
    script = (ROOT / row["Script_file"]).read_text()
    keys = top_level(ROOT / row["Hparam_file"])
    assert "data_folder" in keys
    assert len(keys) == len(set(keys))
    assert unused_keys(keys, text, script) == []


@pytest.mark.parametrize("row", list(rows()), ids=lambda r: r["Hparam_file"])
def test_every_key_of_a_script_is_in_its_yaml(row):
    script = (ROOT / row["Script_file"]).read_text()
    keys = top_level(ROOT / row["Hparam_file"])
    assert missing_keys(keys, script) == []


@pytest.mark.parametrize("path", BLOCKS, ids=relative)
def test_every_block_is_included_and_every_value_of_it_used(path):
    text = path.read_text()
    name = f"hparams/{path.relative_to(ROOT / 'hparams')}"
    included = [y.read_text() for y in YAMLS if name in y.read_text()]
    if path.parent.name == "attacks":
        # `speechbrain-privacy audit` takes these parts of any suite.
        assert {"seed", "speeds", "speaker", "attribute", "text"} <= set(
            top_level(path)
        )
        assert included or name in (ROOT / "README.md").read_text()
    else:
        assert included, "no recipe includes this block"
    for key in top_level(path):
        if path.parent.name == "attacks" and not included:
            continue
        outside = any(
            re.search(rf"<\w+\[{key}\]", recipe)
            or re.search(rf"^    {key}:", recipe, re.MULTILINE)
            for recipe in included
        )
        assert used_in(key, text) or outside or key == "frames_per_second", key


@pytest.mark.parametrize("row", list(rows()), ids=lambda r: r["Hparam_file"])
def test_what_trains_is_in_the_checkpointer(row):
    """A module that is not would restart from random on resume."""
    text = (ROOT / row["Hparam_file"]).read_text()

    def block(name):
        found = re.search(rf"^ *{name}:\n((?: +.*\n)+)", text, re.MULTILINE)
        return set(re.findall(r"!ref <(.+)>", found.group(1)))

    without_weights = {"model[features]", "model[normalize]", "cepstra"}
    assert block("modules") - without_weights <= block("recoverables")


@pytest.mark.parametrize("path", YAMLS, ids=relative)
def test_no_text_refers_to_what_is_made(path):
    """HyperPyYAML puts nothing in its place: a path would begin with /."""
    text = path.read_text()
    made = set(re.findall(r"^(\w+): !(?:apply|new|name):", text, re.MULTILINE))
    for before, name, after in re.findall(
        r"!ref (\S*)<(\w+)>([^\s\],]*)", text
    ):
        assert name not in made or not before + after, (
            f"{before}<{name}>{after}"
        )


@pytest.mark.parametrize("row", list(rows()), ids=lambda r: r["Hparam_file"])
def test_readmes_show_the_command(row):
    readme = (ROOT / row["Readme_file"]).read_text()
    name = row["Hparam_file"].rsplit("/", 1)[1]
    assert f"python train.py hparams/{name}" in readme
