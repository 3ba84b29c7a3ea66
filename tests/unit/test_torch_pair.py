import subprocess
import sys
from importlib import metadata

import pytest

from speechbrain_privacy._torch_pair import check_torchaudio_matches_torch


def versions(**known):
    def version(name):
        if name not in known:
            raise metadata.PackageNotFoundError(name)
        return known[name]

    return version


@pytest.mark.parametrize(
    "torch, torchaudio",
    [
        ("2.11.0", "2.11.0"),
        ("2.11.1", "2.11.0"),
        ("2.11.0+cu130", "2.11.0+cu130"),
        ("2.11.0+cu130", "2.11.0"),
    ],
)
def test_pairs_that_fit(torch, torchaudio):
    check_torchaudio_matches_torch(versions(torch=torch, torchaudio=torchaudio))


@pytest.mark.parametrize(
    "torch, torchaudio",
    [
        ("2.15.0", "2.11.0"),
        ("2.13.0+cpu", "2.11.0"),
        ("2.11.0+cpu", "2.11.0+cu130"),
    ],
)
def test_pairs_that_do_not_are_one_helpful_sentence(torch, torchaudio):
    with pytest.raises(ImportError) as fault:
        check_torchaudio_matches_torch(
            versions(torch=torch, torchaudio=torchaudio)
        )
    message = str(fault.value)
    assert torch in message and torchaudio in message
    assert "pip install" in message and "\n" not in message


def test_a_missing_package_is_named():
    with pytest.raises(ImportError, match="needs torchaudio"):
        check_torchaudio_matches_torch(versions(torch="2.11.0"))


def test_importing_the_package_is_light_and_has_no_side_effects():
    code = (
        "import sys, random, threading; state = random.getstate()\n"
        "import speechbrain_privacy, logging\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "assert random.getstate() == state\n"
        "assert threading.active_count() == 1\n"
        "assert not logging.getLogger().handlers\n"
        "import speechbrain_privacy.metrics.uncertainty\n"
        "import speechbrain_privacy.metrics.error_rates\n"
        "assert 'torch' not in sys.modules, 'metrics import torch'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
