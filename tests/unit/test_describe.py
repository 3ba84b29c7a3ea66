"""Metrics of a model's taps, at their own frame rates."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechbrain_privacy.audit import describe as module
from speechbrain_privacy.audit.describe import describe, phone_segments
from speechbrain_privacy.audit.representations import Representations, Tap
from speechbrain_privacy.report.representations import format_representations


class Grid(torch.nn.Module):
    def __init__(self, *grid):
        super().__init__()
        self.grid = grid


def model(monkeypatch, frames):
    """A brain whose taps give what they are told to."""
    brain = SimpleNamespace(
        modules=torch.nn.ModuleDict(
            {"slow": Grid(0.04, 0.015), "fast": Grid(0.01, 0.0)}
        )
    )

    def heard(*args, heard=None, **kwargs):
        if heard is None:
            return frames
        return {
            name: Representations(
                data.ids,
                heard(torch.tensor(data.frames), None).numpy(),
                data.offsets,
            )
            for name, data in frames.items()
        }

    monkeypatch.setattr(module, "extract", heard)
    return brain


def talk(n_speakers=4, n_utterances=3, seed=0):
    """Two phones in turn, 0.2 s each, in a fast and a slow representation."""
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(2, 6)) * 3
    slow, fast, rows, alignments = {}, {}, [], {}
    for s in range(n_speakers):
        voice = draw.normal(size=6)
        for u in range(n_utterances):
            key = f"s{s}-{u}"
            rows.append({"ID": key, "duration": 1.2, "spk_id": f"s{s}"})
            alignments[key] = [
                (0.2 * i, 0.2 * (i + 1), "ab"[i % 2]) for i in range(6)
            ]
            for store, times in (
                (fast, np.arange(121) * 0.01),
                (slow, 0.015 + np.arange(30) * 0.04),
            ):
                which = (times / 0.2 + 1e-9).astype(int) % 2
                noise = 0.1 * draw.normal(size=(len(times), 6))
                store[key] = points[which] + voice + noise
    frames = {
        "slow": Representations.of(slow),
        "fast": Representations.of(fast),
    }
    return frames, SimpleNamespace(path="m.csv", rows=rows), alignments


def test_phones_are_found_at_both_rates(monkeypatch):
    frames, manifest, alignments = talk()
    brain = model(monkeypatch, frames)
    taps = {"slow": Tap("slow"), "fast": Tap("fast")}
    found = describe(brain, taps, None, manifest, alignments, clusters=8)
    for tap in taps:
        assert found[tap]["abx_within"]["error"] < 1
        assert found[tap]["clusters"]["phone_purity"] > 0.95
        assert found[tap]["abx_across"]["error"] < 40
        # Two phones differ in one direction, four speakers in three.
        assert found[tap]["lidar_phones"] == pytest.approx(1, abs=0.01)
        assert 2 < found[tap]["lidar_speakers"] < 3.01
    # The same content, seen at other times and rates.
    assert found["slow"]["cka"]["fast"] > 0.9
    text = format_representations({"taps": found})
    assert "ABX within" in text
    assert "is better, 50 is guessing" in text
    assert "fast and slow" in text


def test_nothing_that_needs_speakers_without_them(monkeypatch):
    frames, manifest, alignments = talk()
    del manifest.rows[0]["spk_id"]
    manifest.rows[1]["spk_id"] = ""
    brain = model(monkeypatch, frames)
    taps = {"slow": Tap("slow")}
    found = describe(brain, taps, None, manifest, alignments, clusters=8)
    for name in ("lidar_speakers", "alignment", "abx_within", "abx_across"):
        assert "of all utterances who" in found["slow"][name]["not_computed"]
    assert found["slow"]["clusters"]["phone_purity"] > 0.95
    assert found["slow"]["lidar_phones"] == pytest.approx(1, abs=0.01)
    assert found["slow"]["rankme"] > 1


def test_views_tell_what_survives_them(monkeypatch):
    """Two channels that views leave alone, four that they make anew."""
    frames, manifest, _ = talk(n_utterances=10)
    ids, draw = frames["fast"].ids, np.random.default_rng(0)
    # What tells utterances apart is as strong in all channels.
    frames = {
        "fast": Representations.of(
            {key: np.tile(10 * draw.normal(size=6), (121, 1)) for key in ids}
        )
    }
    brain = model(monkeypatch, frames)

    def anew(channels):
        def heard(x, lengths):
            x = x.clone()
            x[:, channels] = 10 * torch.randn(len(x), len(channels))
            return x

        return heard

    taps = {"fast": Tap("fast")}
    given = (brain, taps, None, manifest)
    before = torch.get_rng_state()
    same = describe(*given, worse=lambda x, _: x, views=3)["fast"]
    some = describe(*given, worse=anew([2, 3, 4, 5]), views=3)["fast"]
    again = describe(*given, worse=anew([2, 3, 4, 5]), views=3)["fast"]
    assert torch.equal(torch.get_rng_state(), before)
    assert some == again
    assert same["alignment_views"] == 0 and same["lidar_views"] > 4
    assert some["alignment_views"] > 0.3
    # Means of 121 frames keep little of what is made anew.
    assert some["lidar_views"] == pytest.approx(2, abs=0.35)
    assert "lidar_views" not in describe(*given)["fast"]
    text = format_representations({"taps": {"fast": some}})
    assert "LiDAR: directions that tell utterances apart" in text
    assert "not computed" not in text


def test_without_phones_there_is_less_and_it_is_told(monkeypatch):
    frames, manifest, _ = talk(n_speakers=1)
    brain = model(monkeypatch, frames)
    found = describe(brain, {"fast": Tap("fast")}, None, manifest)
    assert "clusters" not in found["fast"]
    why = found["fast"]["lidar_speakers"]["not_computed"]
    assert "two groups" in why
    text = format_representations({"taps": found})
    assert f"lidar_speakers of fast: {why}" in text
    assert "PNMI" not in text and "RankMe: directions that frames" in text
    flat = format_representations({"taps": {"x": {"uniformity": -1e-4}}})
    assert " 0.00" in flat and "-0.00" not in flat


def test_unrelated_representations_are_not_alike(monkeypatch):
    frames, manifest, alignments = talk()
    other, *_ = talk(seed=5)
    draw = np.random.default_rng(1)
    slow = other["slow"]
    noise = draw.normal(size=slow.frames.shape).astype(np.float32)
    frames["slow"] = Representations(slow.ids, noise, slow.offsets)
    brain = model(monkeypatch, frames)
    taps = {"slow": Tap("slow"), "fast": Tap("fast")}
    found = describe(brain, taps, None, manifest, alignments, clusters=8)
    assert abs(found["slow"]["cka"]["fast"]) < 0.1
    assert found["slow"]["abx_across"]["error"] == pytest.approx(50, abs=8)


def test_segments_hold_the_frames_whose_middle_is_inside():
    data = Representations.of({"u": np.arange(10.0)[:, None]})
    alignments = {
        "u": [
            (0.0, 0.1, "SIL"),
            (0.1, 0.3, "a"),
            (0.3, 0.32, "b"),
            (0.32, 1, "c"),
        ]
    }
    found = phone_segments(data, (0.1, 0.05), alignments, {"u": "s"})
    # Middles at .05, .15, ...: none of them is in b's 20 ms.
    assert [(s.phone, s.frames[:, 0].tolist()) for s in found] == [
        ("a", [1.0, 2.0]),
        ("c", [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
    ]
