"""Private, fair and efficient speech representations for SpeechBrain."""

from speechbrain_privacy._version import __version__  # noqa: F401
from speechbrain_privacy._torch_pair import check_torchaudio_matches_torch

check_torchaudio_matches_torch()
