"""Equal shares of the training speech."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speechbrain.dataio.dataset import DynamicItemDataset

from speechbrain_privacy.dataio.balance import balanced
from speechbrain_privacy.dataio.manifest import Manifest, ManifestError


def speech(rows):
    rows = [
        {"ID": f"u{i}", "duration": seconds, "gender": group}
        for i, (seconds, group) in enumerate(rows)
    ]
    manifest = Manifest("m.csv", ("ID", "duration", "gender"), tuple(rows))
    data = {row["ID"]: {"duration": row["duration"]} for row in rows}
    return DynamicItemDataset(data, output_keys=["id", "duration"]), manifest


def shares(found, manifest):
    group = dict(zip(manifest.values("ID"), manifest.values("gender")))
    total = Counter()
    for item in found:
        total[group[item["id"]]] += item["duration"]
    return total


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.5, 20.0), st.sampled_from(["F", "M", "X"])),
        min_size=1,
        max_size=40,
    )
)
def test_groups_differ_by_less_than_their_longest_utterance(rows):
    rows = [*rows, (3.0, "F"), (1.0, "M"), (2.0, "")]
    dataset, manifest = speech(rows)
    found = balanced(dataset, manifest, "gender")
    counts = Counter(item["id"] for item in found)
    assert set(counts) == set(dataset.data_ids)
    total = shares(found, manifest)
    assert total.pop("") == 2.0  # once
    before = shares(dataset, manifest)
    before.pop("")
    most = max(before.values())
    longest = {g: max(s for s, other in rows if other == g) for g in total}
    for group, audio in total.items():
        assert most - longest[group] < audio <= most + 1e-6
        within = [counts[f"u{i}"] for i, r in enumerate(rows) if r[1] == group]
        assert max(within) - min(within) <= 1


def test_the_draw_is_the_seeds():
    rows = [(1.0, "F")] * 9 + [(1.0, "M")] * 15
    dataset, manifest = speech(rows)
    chosen = [
        [item["id"] for item in balanced(dataset, manifest, "gender", seed)]
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert Counter(len(some) for some in chosen) == {30: 3}


def test_what_cannot_be_balanced():
    dataset, manifest = speech([(1.0, "F"), (1.0, "F"), (1.0, "")])
    with pytest.raises(ManifestError, match="no two groups to balance"):
        balanced(dataset, manifest, "gender")
    with pytest.raises(ManifestError, match="no column 'accent'"):
        balanced(dataset, manifest, "accent")
