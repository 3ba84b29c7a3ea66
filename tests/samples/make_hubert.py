"""Makes ``tests/samples/hubert``: a model small enough to keep in git.

Random weights, in the files that the hub would give. Run from the repository's
root: ``python tests/samples/make_hubert.py``.
"""

from speechbrain_privacy.integrations.huggingface import write_tiny

if __name__ == "__main__":
    write_tiny("tests/samples/hubert", "hubert", hidden_size=16, conv_dim=8)
