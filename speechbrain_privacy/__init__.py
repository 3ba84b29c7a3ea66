"""Private, fair and efficient speech representations for SpeechBrain."""

from speechbrain_privacy._torch_pair import check_torchaudio_matches_torch

__version__ = "0.1.0"

check_torchaudio_matches_torch()
