"""The CTC probe: what can be read from frames, and what cannot."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechbrain_privacy.audit.representations import Representations
from speechbrain_privacy.audit.transcripts import (
    LinearHead,
    RecurrentHead,
    TranscriptProbe,
    _read,
    _texts,
)


def spoken(n, seed):
    """Utterances whose frames show a character, then two times nothing."""
    draw = np.random.default_rng(seed)
    frames, texts = {}, {}
    for i in range(n):
        text = "".join(draw.choice(list("ABC"), 6))
        shown = [k for c in text for k in ("ABC".index(c) + 1, 0, 0)]
        x = np.eye(4)[shown]
        frames[f"u{seed}-{i}"] = x + 0.1 * draw.normal(size=x.shape)
        texts[f"u{seed}-{i}"] = text
    return Representations.of(frames), texts


def cer(data, test):
    heads = {
        "linear": LinearHead,
        "bilstm": partial(RecurrentHead, hidden_size=16),
    }
    probe = TranscriptProbe({}, heads, epochs=25, batch_size=6, lr=0.05)
    speakers = {key: f"s{i % 4}" for i, key in enumerate(test[1])}
    found = {
        name: probe.score(head, data, test, speakers, progressbar=False)
        for name, head in probe.heads.items()
    }
    for one in found.values():
        assert one["losses"][-1] < one["losses"][0]
        assert one["CER"]["n_speakers"] == 4
    return {name: one["CER"]["value"] for name, one in found.items()}


def test_it_reads_what_frames_show():
    found = cer(spoken(60, 0), spoken(20, 1))
    assert found["linear"] < 12
    assert found["bilstm"] < 12


def test_it_reads_nothing_from_noise():
    draw = np.random.default_rng(0)
    pairs = []
    for n, seed in ((60, 0), (20, 1)):
        data, texts = spoken(n, seed)
        noise = draw.normal(size=data.frames.shape).astype(np.float32)
        pairs.append((Representations(data.ids, noise, data.offsets), texts))
    assert min(cer(*pairs).values()) > 50


def test_the_global_generator_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    probe = TranscriptProbe({}, epochs=1)
    data = spoken(4, 0)
    speakers = {key: str(i) for i, key in enumerate(data[1])}
    probe.score(LinearHead, data, data, speakers, progressbar=False)
    assert torch.equal(torch.rand(3), expected)


def test_best_path_merges_repeats_and_drops_blanks():
    table = torch.eye(4)
    path = [0, 1, 1, 0, 1, 2, 2, 3, 0]

    def head(x, counts):
        return x

    data = Representations.of(
        {"a": table[path].numpy(), "b": table[[2, 0, 0]].numpy()}
    )
    zero, one = np.zeros(4, np.float32), np.ones(4, np.float32)
    assert _read(head, data, "ABC", (zero, one)) == {"a": "AABC", "b": "B"}


def test_padding_says_nothing():
    torch.manual_seed(0)
    for head in (LinearHead(5, 4), RecurrentHead(5, 4, 6)):
        x = torch.randn(2, 9, 5)
        both = head(x, torch.tensor([9, 4]))
        alone = head(x[1:, :4], torch.tensor([4]))
        assert torch.allclose(both[1, :4], alone[0], atol=1e-6)


def test_transcripts_must_be_there():
    rows = [{"ID": "a", "wrd": "ONE  TWO"}, {"ID": "b", "wrd": ""}]
    manifest = SimpleNamespace(path="m.csv", rows=rows[:1])
    assert _texts(manifest) == {"a": "ONE TWO"}
    manifest = SimpleNamespace(path="m.csv", rows=rows)
    with pytest.raises(ValueError, match="m.csv: utterance 'b' has no"):
        _texts(manifest)
