"""Fixtures that several tests share."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing more.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems():
    """Takes SpeechBrain's lazy modules out of the list of modules.

    Hypothesis looks into every imported module; those import optional
    packages when looked at, and fail.
    """
    for name, module in list(sys.modules.items()):
        if type(module).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def fixed_seed():
    """Every test starts from the same random state."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def corpora():
    """The folder of the real corpora, or a skip that says why."""
    folder = os.environ.get("SBP_CORPORA")
    if not folder:
        pytest.skip("SBP_CORPORA is not set: no real corpora on this machine")
    return Path(folder)


@pytest.fixture(scope="session")
def vectors():
    """Reference score sets: name -> content."""
    folder = ROOT / "tests/vectors"
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted(folder.glob("*.json"))
    }


@pytest.fixture(scope="session")
def toy_corpus():
    """The tones: ``folder``, ``{split: manifest}``."""
    folder = ROOT / "tests/samples/tones"
    return folder, {s: folder / f"{s}.csv" for s in ("train", "valid", "test")}
