"""Where a number comes from: versions and git state."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "speechbrain",
    "torch",
    "torchaudio",
    "numpy",
    "scipy",
    "scikit-learn",
)


def git_state():
    """Commit of this package's checkout, ``+dirty`` if changed; or ''."""
    here = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", *command],
                cwd=here,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for command in (
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+dirty" if changes else "")


def provenance():
    """Versions of everything a result depends on."""
    from speechbrain_privacy import __version__

    return {
        "speechbrain_privacy": __version__,
        "git": git_state(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
    }
