"""One sentence instead of a loader traceback when torchaudio cannot load.

torchaudio is compiled against one torch. Beside another it dies in the
dynamic loader with a message that names neither. The installed packages'
metadata tell it beforehand, without importing either.
"""

from importlib import metadata


def _release(version):
    """``2.11.0+cu130`` -> (("2", "11"), "cu130")."""
    public, _, build = version.partition("+")
    return tuple(public.split(".")[:2]), build


def check_torchaudio_matches_torch(version=metadata.version):
    """Raises ImportError when torch and torchaudio do not belong together.

    Arguments
    ---------
    version : callable
        Package name -> version string.

    Example
    -------
    >>> check_torchaudio_matches_torch()
    """
    try:
        torch, torchaudio = version("torch"), version("torchaudio")
    except metadata.PackageNotFoundError as missing:
        raise ImportError(
            f"speechbrain-privacy needs {missing.name}, which is not "
            "installed: pip install 'torch>=2.8,<2.12' "
            "'torchaudio>=2.8,<2.12'"
        ) from None
    (release, build), (audio_release, audio_build) = map(
        _release, (torch, torchaudio)
    )
    if release != audio_release or (
        build and audio_build and build != audio_build
    ):
        raise ImportError(
            f"torch {torch} and torchaudio {torchaudio} do not match, and "
            "torchaudio loads only beside the torch it was built for: "
            "pip install 'torch>=2.8,<2.12' 'torchaudio>=2.8,<2.12' "
            "brings a pair that fits"
        )
