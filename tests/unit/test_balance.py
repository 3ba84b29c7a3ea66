"""Equal shares of the training speech, and batches of it."""

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speechbrain.dataio.dataset import DynamicItemDataset

from speechbrain_privacy.dataio.balance import balanced
from speechbrain_privacy.dataio.manifest import Manifest, ManifestError
from speechbrain_privacy.experiments import fit


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


def test_more_buckets_leave_less_padding(tmp_path):
    """A Brain gets batches by length, of the seconds that were asked for."""
    seconds = [1 + 0.1 * (i % 47) for i in range(200)]
    items = {str(i): {"duration": x} for i, x in enumerate(seconds)}
    sets = {s: DynamicItemDataset(items) for s in ("train", "valid")}
    padded = []

    class Brain:
        epoch_counter, meter = SimpleNamespace(limit=1), None

        def fit(self, counter, train, valid, train_loader_kwargs, **kwargs):
            batches = list(train_loader_kwargs["batch_sampler"])
            assert sorted(sum(batches, [])) == list(range(200))
            longest = [max(seconds[i] for i in b) * len(b) for b in batches]
            assert max(longest) <= 30.0
            padded.append(sum(longest))

        def unwrap_modules(self):
            """Nothing is wrapped."""

    for n in (2, 20):
        data = SimpleNamespace(datasets=sets)
        fit(Brain(), data, tmp_path, batch_seconds=30.0, num_buckets=n)
    assert padded[1] < 1.1 * sum(seconds) < 1.2 * sum(seconds) < padded[0]
