"""What ``docs/parts.md`` shows, run where this repository is not."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs/parts.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SEPARATOR = "#" * 10


def test_every_block_is_short():
    assert len(BLOCKS) >= 10
    for block in BLOCKS:
        lines = [x for x in block.splitlines() if x and "import " not in x]
        assert len(lines) <= 10, block


def test_all_blocks_run_outside(tmp_path):
    (tmp_path / "blocks.py").write_text(SEPARATOR.join(BLOCKS))
    runner = (
        "import sys\n"
        f"for block in open('blocks.py').read().split({SEPARATOR!r}):\n"
        "    names = {}\n"
        "    exec(compile(block, block, 'exec'), names)\n"
        "    loss = names.get('loss')\n"
        "    assert loss is None or loss.isfinite().all(), block\n"
        "print('all', [p for p in sys.path if p.endswith('recipes')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", runner],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("all []")


@pytest.mark.parametrize("path", re.findall(r"`([A-Z]\w+)`", TEXT))
def test_what_the_text_names_exists(path):
    source = "\n".join(
        file.read_text()
        for file in (ROOT / "speechbrain_privacy").rglob("*.py")
    )
    assert f"class {path}" in source
