import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechbrain_privacy.brains.checkpointing import (
    AtomicCheckpointer,
    ResumableTrainLogger,
    RunningMeans,
    seed_step,
)
from speechbrain_privacy.brains.milestones import Milestones, error_over_cost


def draw():
    return torch.rand(2).tolist(), np.random.rand(), random.random()


def test_a_step_has_its_own_random_numbers():
    places = [
        (1, 1, 1, 0),
        (2, 1, 1, 0),
        (1, 2, 1, 0),
        (1, 1, 2, 0),
        (1, 1, 1, 1),
    ]
    drawn = []
    for place in places:
        seed_step(*place)
        first = draw()
        draw()
        seed_step(*place)
        assert draw() == first
        drawn.append(str(first))
    assert len(set(drawn)) == len(places)


def test_a_checkpoint_appears_whole_or_not_at_all(tmp_path):
    layer = torch.nn.Linear(2, 2)
    saver = AtomicCheckpointer(tmp_path, {"layer": layer})
    saver.save_checkpoint(meta={"n": 1})

    def fail(module, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    saver.custom_save_hooks["layer"] = fail
    with pytest.raises(OSError, match="disk full"):
        saver.save_checkpoint(meta={"n": 2})
    assert [c.meta["n"] for c in saver.list_checkpoints()] == [1]
    del saver.custom_save_hooks["layer"]
    before = layer.weight.clone()
    with torch.no_grad():
        layer.weight.zero_()
    saver.recover_if_possible()
    assert torch.equal(layer.weight, before)
    saver.save_and_keep_only(meta={"n": 3}, num_to_keep=1, importance_keys=[])
    assert [c.meta["n"] for c in saver.list_checkpoints()] == [3]


def test_many_checkpoints_in_a_second_keep_their_names_apart(tmp_path):
    saver = AtomicCheckpointer(tmp_path, {"layer": torch.nn.Linear(1, 1)})
    paths = {saver.save_checkpoint().path for _ in range(4)}
    assert len(paths) == 4 and all(path.is_dir() for path in paths)
    named = saver.save_checkpoint(name="best").path
    assert named.is_dir() and named.parent == tmp_path


def test_the_log_is_rewound_to_whole_epochs(tmp_path):
    path = tmp_path / "log.txt"
    log = ResumableTrainLogger(path)
    log.rewind(0)  # nothing there: nothing to do
    for epoch in (1, 2, 10):
        log.log_stats({"epoch": epoch, "lr": 0.1}, {"loss": 1.5}, verbose=False)
    whole = path.read_text()
    with open(path, "a") as file:
        file.write("epoch: 1")  # a torn line
    log.rewind(10)
    assert path.read_text() == whole
    log.rewind(2)
    assert path.read_text() == "".join(whole.splitlines(True)[:2])
    log.rewind(0)
    assert path.read_text() == ""


def test_running_means_survive_a_file_exactly(tmp_path):
    means = RunningMeans()
    for value in (0.1, 0.2, 0.7):
        means.add({"a": (torch.tensor(value) * 3, 3), "none": (0.0, 0)})
    means.save(tmp_path / "m")
    again = RunningMeans()
    again.load(tmp_path / "m", end_of_epoch=False)
    assert again.compute() == means.compute()
    assert list(means.compute()) == ["a"]
    assert means.compute()["a"] == pytest.approx(1.0 / 3)
    means.clear()
    assert means.compute() == {}


@pytest.mark.parametrize(
    ("epochs", "finished", "found"),
    [
        ([1], 3, [(1, 10.0, 0.0), (3, 30.0, 99.0)]),
        ([1, 3], 3, [(1, 10.0, 0.0), (3, 30.0, 1.0)]),
        (None, 3, [(3, 30.0, 99.0)]),
        ([], 0, []),
    ],
)
def test_a_curve_ends_with_the_finished_encoder(
    tmp_path, epochs, finished, found
):
    kept = None if epochs is None else Milestones(tmp_path, epochs)
    for epoch in range(1, finished + 1) if kept else ():
        kept.keep(epoch, torch.nn.Linear(1, 1), {"flops": 10.0 * epoch})
    brain = SimpleNamespace(
        milestones=kept,
        epoch_counter=SimpleNamespace(current=finished),
        unwrapped=lambda _: SimpleNamespace(
            network=SimpleNamespace(encoder=torch.nn.Linear(1, 1))
        ),
    )
    probed = iter(range(9))
    curve = error_over_cost(
        brain,
        lambda: {"error": {"value": float(next(probed))}, "by_speaker": {}},
        {"error": {"value": 99.0}, "by_speaker": {}},
        {"flops": 10.0 * finished, "steps": 7, "parameters": 5},
    )
    assert [(p["epoch"], p["flops"], p["error"]) for p in curve] == found
    assert all(p["by_speaker"] == {} for p in curve)


@pytest.mark.parametrize("epochs", ["two", 3, [0], [1.5], [2, "3"], [True]])
def test_milestones_are_epochs(epochs, tmp_path):
    with pytest.raises(ValueError, match="milestones are epochs"):
        Milestones(tmp_path, epochs)
