"""Lays out one recipe as SpeechBrain's tree wants it, and checks it.

    python tools/assemble.py recipes/AN4/ASR/CTC OUT

What recipes share here, each has for itself there: the script is a file and
no link, blocks of YAML stand where they were included. ``OUT`` gets

    recipes/<Dataset>/<dataset>_prepare.py
    recipes/<Dataset>/<task>/<model>/train.py, hparams/*.yaml, README.md,
        extra_requirements.txt, and links to what prepares the corpus
    tests/recipes/<Dataset>.csv, tests/samples/...

ready to be copied over a checkout of SpeechBrain. The exit status is 1 if it
breaks one of SpeechBrain's rules, which are told.
"""

import argparse
import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from hyperpyyaml import resolve_references
from ruamel.yaml import YAML
from speechbrain.utils.run_opts import RunOptions

ROOT = Path(__file__).parents[1]
INCLUDE = re.compile(
    r"^(?P<name>\w+): !include:(?P<path>\S+)\n(?P<inside>(?:    .*\n|\n(?=    ))*)",
    re.MULTILINE,
)
HEADER = (
    "Task,Dataset,Script_file,Hparam_file,Data_prep_file,Readme_file,"
    "Result_url,HF_repo,test_debug_flags,test_debug_checks,performance"
).split(",")
HOME = "speechbrain-privacy"
#: What in a YAML needs which extra.
EXTRAS = {"lobes.pretrained": "hf", "dataio.minispeech": "demo"}
#: SpeechBrain's settings; there, ours is a library like any other.
RUFF = (
    "--isolated",
    "--no-cache",
    "--line-length=80",
    "--config=lint.select=['E','W','F','I','B','C4','UP']",
    "--config=lint.ignore=['E501','B905','B028']",
    "--config=lint.isort.known-first-party=['speechbrain']",
)
LINTERS = (
    ("ruff", "check", *RUFF),
    (
        "ruff",
        "format",
        "--check",
        "--isolated",
        "--no-cache",
        "--line-length=80",
    ),
    ("yamllint", "--strict", f"-c={ROOT / '.yamllint.yaml'}"),
    ("codespell_lib", "--skip=*.csv,*.flac,*.safetensors"),
)


def inlined(text, folder):
    """A YAML with the blocks that it includes in their places.

    Arguments
    ---------
    text : str
    folder : Path
        Where it lies.

    Returns
    -------
    str
    """

    def block(found):
        name, path = found["name"], folder / found["path"]
        entries = _entries(path.read_text(encoding="utf-8"))
        keys = [key for key, _ in entries if key]
        given = dict(_entries(_dedented(found["inside"])))
        comment = given.pop(None, "")
        if unknown := sorted(set(given) - set(keys)):
            raise ValueError(f"{path} has no {', '.join(unknown)}")
        # Inside the block its values are known by their own names.
        own = re.compile(rf"<({'|'.join(keys)})(?=[\[.>])")
        lines = "".join(
            given[key] if key in given else own.sub(rf"<{name}[\1]", entry)
            for key, entry in entries
        )
        return f"{name}:\n" + _indented(comment + lines)

    # In a list on one line, brackets of a reference must be in quotes.
    return re.sub(
        r"!ref (<\w+\[[^>]*>)(?=[,\]])", r'!ref "\1"', INCLUDE.sub(block, text)
    )


def _entries(text):
    """A YAML's text in pieces: ``(top-level key, lines)``, the comments
    before a key with it; None for what has no key."""
    pieces = re.split(r"(?m)^(?=(?:(?:#.*)?\n)*\w+:)", text)
    found = []
    for piece in pieces:
        key = re.search(r"(?m)^(\w+):", piece)
        found.append((key and key[1], piece))
    return [entry for entry in found if entry[1]]


def _dedented(text):
    return re.sub(r"(?m)^    ", "", text)


def _indented(text):
    return re.sub(r"(?m)^(?=.)", "    ", text)


def assemble(recipe, output):
    """Copies a recipe and what belongs to it.

    Arguments
    ---------
    recipe : str or Path
        Folder with ``train.py``, below ``recipes/``; relative to the
        repository.
    output : str or Path
        Folder, to be made.
    """
    recipe = (ROOT / recipe).resolve()
    if not recipe.is_relative_to(ROOT / "recipes"):
        raise ValueError(f"{recipe} is no recipe: it is not in {ROOT}/recipes")
    output = Path(output)
    if not (recipe / "train.py").is_file():
        raise ValueError(f"{recipe} is no recipe: it has no train.py")
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} is there already: give another folder")
    here = output / recipe.relative_to(ROOT)
    (here / "hparams").mkdir(parents=True)
    extras = set()
    for path in sorted((recipe / "hparams").glob("*.yaml")):
        text = inlined(path.read_text(encoding="utf-8"), path.parent)
        (here / "hparams" / path.name).write_text(text, encoding="utf-8")
        extras |= {extra for part, extra in EXTRAS.items() if part in text}
    needed = f"[{','.join(sorted(extras))}]" if extras else ""
    (here / "extra_requirements.txt").write_text(
        f"speechbrain-privacy{needed}\n"
    )
    shutil.copyfile(recipe / "train.py", here / "train.py")
    readme = (recipe / "README.md").read_text(encoding="utf-8")
    (here / "README.md").write_text(
        re.sub(
            r"\[([^]]*)\]\(([^):]+)\)",
            lambda link: _link(link, recipe, here),
            readme,
        ),
        encoding="utf-8",
    )
    for path in recipe.glob("*.py"):
        if path.name != "train.py":
            (here / path.name).symlink_to(os.readlink(path))
            _copy(path.resolve(), output)
    _copy_rows(recipe, output)
    _run(output, "ruff", "check", "--fix", "--quiet", *RUFF)


def _link(link, recipe, here):
    """A link to what is not there, e.g. another recipe, as words."""
    if link[2].startswith("#") or (here / link[2].partition("#")[0]).exists():
        return link[0]
    target = (recipe / link[2].partition("#")[0]).resolve()
    return f"{link[1]} (`{target.relative_to(ROOT)}` of {HOME})"


def _run(folder, *command):
    return subprocess.run(
        [sys.executable, "-m", *command, "."],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def _copy(path, output):
    target = output / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if path.is_dir() else shutil.copyfile)(path, target)


def _copy_rows(recipe, output):
    dataset = recipe.relative_to(ROOT / "recipes").parts[0]
    table = ROOT / f"tests/recipes/{dataset}.csv"
    script = str((recipe / "train.py").relative_to(ROOT))
    with open(table, newline="", encoding="utf-8") as file:
        rows = [
            row for row in csv.DictReader(file) if row["Script_file"] == script
        ]
    target = output / table.relative_to(ROOT)
    target.parent.mkdir(parents=True)
    with open(target, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    samples = {
        name
        for row in rows
        for name in re.findall(r"tests/samples/\w+", row["test_debug_flags"])
    }
    for name in sorted(samples):
        _copy(ROOT / name, output)


def problems(tree, linters=LINTERS):
    """What in a tree breaks the rules of SpeechBrain's own tests.

    Arguments
    ---------
    tree : str or Path
        Folder with ``recipes/`` and ``tests/recipes/``.
    linters : sequence of tuple
        Modules of Python with their arguments.

    Returns
    -------
    list of str
        One sentence for each.
    """
    tree = Path(tree)
    found, listed = [], set()
    for table in sorted((tree / "tests/recipes").glob("*.csv")):
        with open(table, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != HEADER:
                found.append(f"{table}: columns are not SpeechBrain's")
                continue
            for row in reader:
                listed.add(row["Hparam_file"])
                found += _row_problems(tree, table, row)
    for path in sorted((tree / "recipes").rglob("*.yaml")):
        name = str(path.relative_to(tree))
        if name not in listed:
            found.append(f"{name}: is in no table of tests/recipes")
    for command in linters:
        done = _run(tree, *command)
        if done.returncode:
            found.append(f"{command[0]}: {(done.stdout + done.stderr).strip()}")
    return found


def _row_problems(tree, table, row):
    missing = [c for c in HEADER[2:6] if not (tree / row[c]).is_file()]
    if missing:
        return [f"{table.name}: {row[c]} is not there" for c in missing]
    name = row["Hparam_file"]
    text = (tree / name).read_text(encoding="utf-8")
    script = (tree / row["Script_file"]).read_text(encoding="utf-8")
    readme = (tree / row["Readme_file"]).read_text(encoding="utf-8")
    found = []
    if "!include:" in text:
        found.append(f"{name}: includes another file")
    keys = set(YAML().load(text))
    if "data_folder" not in keys:
        found.append(f"{name}: has no data_folder")
    found += [
        f"{name}: nobody uses '{key}'"
        for key in unused_keys(sorted(keys), text, script)
    ]
    found += [
        f"{name}: train.py wants '{key}', which is not in it"
        for key in missing_keys(keys, script)
    ]
    if "file_exists=[" not in row["test_debug_checks"]:
        found.append(f"{table.name}: {name}: no files are checked")
    for link in re.findall(r"\]\(([^):#]+)[)#]", readme):
        if not (tree / row["Readme_file"]).parent.joinpath(link).exists():
            found.append(f"{row['Readme_file']}: {link} is not there")
    if Path(name).name not in readme:
        found.append(f"{row['Readme_file']}: does not name {Path(name).name}")
    return found


def used_in(key, text):
    """Is there ``<key>``, ``<key[...]>`` or ``<key.…>`` in a YAML?"""
    return re.search(rf"<{key}[\[.>]", text) is not None


def unused_keys(keys, text, script):
    """Keys of a recipe that neither YAML, nor script, nor SpeechBrain reads.

    Arguments
    ---------
    keys : iterable of str
        Top-level ones.
    text, script : str
        Of the YAML and of ``train.py``.

    Returns
    -------
    list of str
    """
    options = set(RunOptions().as_dict())
    manifests = '[f"{split}_manifest"]' in script
    return [
        key
        for key in keys
        if not used_in(key, text)
        and f'["{key}"]' not in script
        and not (key.endswith("_manifest") and manifests)
        and key not in options
        and not key.startswith("__")  # !apply
    ]


def missing_keys(keys, script):
    """Keys that ``train.py`` reads and a YAML does not have."""
    return sorted(set(re.findall(r'hparams\["(\w+)"\]', script)) - set(keys))


def same_settings(path, other, flags=""):
    """Whether two YAMLs say the same, with the same flags.

    Arguments
    ---------
    path, other : str or Path
    flags : str
        As on a command line.

    Returns
    -------
    bool
    """
    import speechbrain as sb

    from speechbrain_privacy.dataio.settings import flat

    read = []
    for name in (path, other):
        _, _, overrides = sb.parse_arguments([str(name), *shlex.split(flags)])
        with open(name, encoding="utf-8") as file:
            read.append(flat(YAML().load(resolve_references(file, overrides))))
    return read[0] == read[1]


def main(arguments=None):
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="e.g. recipes/AN4/ASR/CTC")
    parser.add_argument("output", help="folder, to be made")
    given = parser.parse_args(arguments)
    try:
        assemble(given.recipe, given.output)
    except ValueError as fault:
        print(f"assemble: {fault}", file=sys.stderr)
        return 2
    found = problems(given.output)
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"{given.output}: {len(found)} problems")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
