"""Style, spelling, docstrings and direction of imports."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

MODULES = sorted((ROOT / "speechbrain_privacy").rglob("*.py"))

#: Who may import whom; what is not listed here is below everything.
ALLOWED = {
    "metrics": set(),
    "nnet": set(),
    "dataio": {"integrations"},
    "integrations": {"metrics"},
    "augment": {"nnet"},
    "lobes": {"nnet", "masking", "integrations"},
    "masking": {"nnet", "dataio", "metrics"},
    "brains": {"lobes", "nnet", "dataio", "metrics"},
    "attacks": {"nnet"},
    "audit": {"attacks", "metrics", "nnet", "dataio"},
    "report": {"metrics"},
    "experiments.py": {"audit", "brains", "dataio", "metrics"},
    "runs.py": {"audit", "augment", "dataio", "experiments", "lobes"},
    "export.py": {"dataio", "lobes", "nnet", "runs"},
    "commands.py": {
        "audit",
        "export",
        "lobes",
        "metrics",
        "report",
        "dataio",
        "experiments",
        "runs",
        "masking",
        "augment",
    },
    "cli.py": {"commands"},
}


def relative(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["yamllint", "--strict", "."],
        ["codespell_lib", "."],
    ],
    ids=lambda c: " ".join(c[:2]),
)
def test_linters(command):
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def public(tree):
    """Public functions and classes of a module, and public methods."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if not node.name.startswith("_"):
                yield node
                if isinstance(node, ast.ClassDef):
                    yield from (
                        method
                        for method in node.body
                        if isinstance(method, ast.FunctionDef)
                        and not method.name.startswith("_")
                    )


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_everything_public_is_documented(path):
    tree = ast.parse(path.read_text())
    if path.read_text().strip():
        assert ast.get_docstring(tree), "the module has no docstring"
    for node in public(tree):
        assert ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_arrows_point_one_way(path):
    inside = path.relative_to(ROOT / "speechbrain_privacy")
    part = inside.parts[0]
    if part.startswith("_"):
        return
    allowed = ALLOWED[part] | {part, "__version__"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = node.module.split(".")
            if names[0] == "speechbrain_privacy":
                target = names[1] if len(names) > 1 else node.names[0].name
                assert target in allowed, f"{inside} imports {node.module}"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_holds_one_idea(path):
    lines = path.read_text().count("\n")
    assert lines <= 420
