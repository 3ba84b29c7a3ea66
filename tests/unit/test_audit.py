import contextlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from speechbrain.dataio.batch import PaddedData

from speechbrain_privacy.attacks.backends import PLDA
from speechbrain_privacy.attacks.network import MIN_STEPS, NetworkAttacker
from speechbrain_privacy.attacks.speaker import SpeakerAttacker
from speechbrain_privacy.attacks.statistics import StatisticsEmbedder
from speechbrain_privacy.attacks.tdnn import TDNN
from speechbrain_privacy.attacks.text import TextEmbedder
from speechbrain_privacy.audit import representations
from speechbrain_privacy.audit.attack import fused
from speechbrain_privacy.audit.audit import Audit
from speechbrain_privacy.audit.checks import check_audit, may_choose
from speechbrain_privacy.audit.provenance import provenance
from speechbrain_privacy.audit.representations import (
    Representations,
    Tap,
    extract,
)
from speechbrain_privacy.audit.trials import shuffled_speakers
from speechbrain_privacy.dataio.files import write_json
from speechbrain_privacy.dataio.manifest import (
    Manifest,
    ManifestError,
    read_manifest,
)
from speechbrain_privacy.metrics.verification import equal_error_rate

SMALL = partial(TDNN, channels=16, embedding_size=8)


def voices(n_speakers, n_utterances, leak, seed):
    """Frames with a speaker's offset of the given size; ids, speakers."""
    rng = np.random.default_rng(seed)
    centre = leak * rng.normal(0, 1, (n_speakers, 8))
    data, speakers = {}, []
    for s in range(n_speakers):
        for u in range(n_utterances):
            length = int(rng.integers(20, 60))
            data[f"{seed}-{s}-{u}"] = centre[s] + rng.normal(0, 1, (length, 8))
            speakers.append(f"s{s}")
    return Representations.of(data), np.array(speakers)


def open_set_eer(leak, shuffle=False):
    train, who = voices(24, 6, leak, seed=0)
    if shuffle:
        who = np.random.default_rng(0).permutation(who)
    attacker = NetworkAttacker(SMALL, epochs=25, segment=0.3)
    curve = attacker.fit(train, who, frames_per_second=100, seed=0)
    test, speakers = voices(20, 5, leak, seed=1)
    x = attacker.embed(test)
    i, j = np.triu_indices(len(x), 1)
    scores, mated = (x @ x.T)[i, j], speakers[i] == speakers[j]
    return equal_error_rate(scores[mated], scores[~mated]), curve


def test_an_attacker_finds_new_speakers_where_there_is_something_to_find():
    rate, curve = open_set_eer(leak=1.0)
    assert rate < 0.1
    assert curve.accuracy[-1] > 0.9 > curve.accuracy[0]
    assert curve.loss[-1] < curve.loss[0]
    assert len(curve.loss) == 25


def test_an_attacker_finds_nothing_where_there_is_nothing():
    assert abs(open_set_eer(leak=0.0)[0] - 0.5) < 0.06


def test_an_attacker_of_shuffled_labels_learns_nothing_of_use():
    # What is left is what an untrained network hears: far from the trained.
    assert open_set_eer(leak=0.3, shuffle=True)[0] > (
        open_set_eer(leak=0.3)[0] + 0.05
    )


def test_embeddings_do_not_depend_on_the_batch_and_seeds_decide():
    data, who = voices(4, 5, 1.0, seed=2)
    attacker = NetworkAttacker(SMALL, epochs=3, batch_size=8, segment=0.3)
    attacker.fit(data, who, frames_per_second=100, seed=3)
    whole = attacker.embed(data)
    alone = attacker.embed(data.subset([7]))
    assert np.allclose(whole[7], alone[0], atol=1e-5)
    assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    again = NetworkAttacker(SMALL, epochs=3, batch_size=8, segment=0.3)
    state = torch.random.get_rng_state()
    again.fit(data, who, frames_per_second=100, seed=3)
    assert np.array_equal(whole, again.embed(data))
    assert torch.equal(state, torch.random.get_rng_state())


def test_an_attacker_needs_two_classes():
    data, _ = voices(1, 3, 1.0, seed=0)
    with pytest.raises(ValueError, match="two classes"):
        NetworkAttacker(SMALL).fit(data, ["a"] * 3, frames_per_second=100)


def test_an_attacker_that_cannot_learn_is_a_mistake():
    data, who = voices(4, 5, 1.0, seed=2)
    with pytest.raises(ValueError, match="4 steps learns nothing"):
        NetworkAttacker(SMALL, epochs=4).fit(data, who, frames_per_second=100)


class Frozen:
    """Stands in for a Brain: one identity layer on given frames."""

    def __init__(self, frames):
        self.modules = torch.nn.ModuleDict({"layer": torch.nn.Identity()})
        self.frames = frames
        self.device = "cpu"
        self.evaluation_ctx = contextlib.nullcontext()

    def make_dataloader(self, dataset, stage, ckpt_prefix, batch_size):
        return dataset

    def represent(self, batch):
        rows = [self.frames[key] for key in batch.id]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        self.modules["layer"](padded.masked_fill(padded == 0, 7.0))
        # The input says nothing of use; the output's lengths are right.
        counts = torch.tensor([float(len(row)) for row in rows])
        return padded.shape[1], counts / counts.max()


class Featured(Frozen):
    """Features whose lengths are not quite those of the waveforms."""

    def __init__(self, frames):
        super().__init__(frames)
        self.modules["normalize"] = Told()

    def represent(self, batch):
        rows = [self.frames[key] for key in batch.id]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        counts = torch.tensor([float(len(row)) for row in rows])
        self.modules["normalize"](padded, counts / counts.max())
        return 1, torch.ones(len(rows))


class Told(torch.nn.Module):
    def forward(self, x, lengths):
        return x


def test_features_are_as_long_as_normalisation_is_told():
    frames = {f"u{i}": torch.rand(n, 2) for i, n in enumerate((9, 4, 7, 5))}
    found = extract(
        Featured(frames),
        {"logmel": Tap("normalize")},
        fake_batches(frames),
        progressbar=False,
    )["logmel"]
    for key, rows in zip(found.ids, found.utterances(), strict=True):
        assert np.array_equal(rows, frames[key].numpy())


def fake_batches(frames, size=3):
    class Batch:
        pass

    keys = list(frames)
    for i in range(0, len(keys), size):
        batch = Batch()
        batch.id = keys[i : i + size]
        counts = torch.tensor([float(len(frames[k])) for k in batch.id])
        batch.sig = Batch()
        batch.sig.lengths = torch.ones(len(counts))
        yield batch


def test_taps_record_valid_frames_only():
    frames = {f"u{n}": torch.rand(n, 4) + 0.1 for n in (5, 3, 9, 2)}
    taps = {"raw": Tap("layer"), "soft": Tap("layer", softmax=True)}
    found = extract(
        Frozen(frames), taps, fake_batches(frames), progressbar=False
    )
    assert found["raw"].ids == tuple(frames)
    assert found["raw"].counts.tolist() == [5, 3, 9, 2]
    assert np.array_equal(
        found["raw"].frames, torch.cat(list(frames.values())).numpy()
    )
    assert np.allclose(found["soft"].frames.sum(1), 1.0, atol=1e-6)


def test_a_tap_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="'x'.*no module 'nowhere'.*layer"):
        extract(Frozen({}), {"x": Tap("nowhere")}, [], progressbar=False)
    with pytest.raises(ValueError, match="2 axes"):
        Tap("layer").read(torch.zeros(2, 3))


def audited(toy_corpus, leak=2.0, **settings):
    """Runs an audit on invented frames for the toy manifests."""
    _, paths = toy_corpus
    manifests = {s: read_manifest(paths[s], "/none") for s in ("train", "test")}
    rng = np.random.default_rng(0)
    centre = {f"s{i}": leak * rng.normal(0, 1, 4) for i in range(10)}
    frames = {
        row["ID"]: torch.as_tensor(
            centre[row["spk_id"]] + rng.normal(0, 1, (25, 4)),
            dtype=torch.float32,
        )
        for manifest in manifests.values()
        for row in manifest.rows
    }
    make = partial(
        NetworkAttacker, network=SMALL, epochs=3, batch_size=4, segment=0.5
    )
    audit = Audit(
        {"raw": Tap("layer")},
        {
            "statistics": partial(
                SpeakerAttacker, StatisticsEmbedder, {"plda": PLDA}
            ),
            "tdnn": partial(SpeakerAttacker, make),
        },
        {"tdnn": partial(make, margin=0.0, balanced=True)},
        **{"enrolment": [2], **settings},
    )

    def split(name):
        rows = {r["ID"]: frames[r["ID"]] for r in manifests[name].rows}
        return fake_batches(rows), manifests[name]

    return audit, Frozen(frames), split, manifests


def test_an_audit_says_what_it_measured_on_what(toy_corpus, tmp_path):
    audit, brain, split, manifests = audited(toy_corpus)
    found = audit.run(brain, split("train"), split("test"), progressbar=False)
    write_json(tmp_path / "audit.json", found)
    again = json.loads((tmp_path / "audit.json").read_text())
    assert again["schema"] == 2
    assert again["test"]["speakers"] == 4 and again["train"]["speakers"] == 4
    assert again["test"]["fingerprint"] == manifests["test"].fingerprint()
    assert torch.__version__.startswith(again["provenance"]["torch"])
    attack = again["taps"]["raw"]["speaker"]
    assert set(attack["attackers"]) == {
        "statistics-plda",
        "tdnn-cosine",
        "fusion",
    }
    assert attack["chosen_on"] == "test speakers"
    tdnn = attack["attackers"]["tdnn-cosine"]
    assert tdnn["all"]["overall"]["n_mated"] == 4 * 6
    assert tdnn["all"]["overall"]["n_nonmated"] == 16 * 15 // 2 - 24
    rate = tdnn["all"]["intervals"]["eer"]
    assert 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1
    assert rate["n_speakers"] == 4
    assert len(tdnn["training"]["loss"]) == 3
    # Two models of two utterances each, against the other fourteen.
    assert tdnn["enrolment_2"]["overall"]["n_mated"] == 8 * 2
    assert tdnn["enrolment_2"]["overall"]["n_nonmated"] == 8 * 12
    assert tdnn["same_gender"]["overall"]["n_nonmated"] == 2 * 16
    assert attack["null"]["eer"]["low"] < 0.5 < attack["null"]["eer"]["high"]
    gender = again["taps"]["raw"]["gender"]
    assert gender["chosen"] == "tdnn"
    assert gender["attackers"]["tdnn"]["n_scored"] == 16
    assert gender["attackers"]["tdnn"]["positive"] == "F"


def test_the_attacker_that_counts_is_chosen_on_other_speakers(
    toy_corpus, monkeypatch
):
    audit, brain, split, manifests = audited(toy_corpus, leak=0.5)
    frames, manifest = split("test")
    frames = list(frames)
    other = replace(
        manifest,
        rows=tuple(
            {**row, "spk_id": f"x{row['spk_id']}"} for row in manifest.rows
        ),
    )

    def run():
        return audit.run(
            brain,
            split("train"),
            (frames, manifest),
            dev=(list(split("test")[0]), other),
            progressbar=False,
        )

    few = run()["taps"]["raw"]["speaker"]
    assert few["chosen_on"] == "test speakers"
    monkeypatch.setattr("speechbrain_privacy.audit.attack.DEV_SPEAKERS", 4)
    found = run()
    attack = found["taps"]["raw"]["speaker"]
    on_dev = {n: a["dev_eer"] for n, a in attack["attackers"].items()}
    assert attack["chosen"] == min(on_dev, key=on_dev.get)
    assert attack["chosen_on"] == "development speakers"
    assert "dev_eer" in found["taps"]["raw"]["gender"]["attackers"]["tdnn"]
    assert all("dev_scores" not in a for a in attack["attackers"].values())


def test_an_attacker_that_hears_nothing_in_clear_speech_is_too_weak(toy_corpus):
    def weak(leak):
        audit, brain, split, _ = audited(
            toy_corpus, leak=leak, clear="raw", weak=0.2
        )
        audit.speaker_attackers.pop("tdnn")
        return audit.run(
            brain, split("train"), split("test"), progressbar=False
        )["too_weak"]

    assert weak(leak=0.0) == ["statistics-plda"]
    assert weak(leak=5.0) == []


def test_words_alone_are_attacked_too(toy_corpus):
    audit, brain, split, manifests = audited(
        toy_corpus,
        text_attackers={"ngrams": partial(SpeakerAttacker, TextEmbedder)},
    )

    favourite = ["RED", "BLUE", "GREEN", "BLACK"]

    def saying(name):
        batches, manifest = split(name)
        rows = tuple(
            {
                **row,
                "wrd": f"{favourite[int(row['spk_id'][1:]) % 4]} {i % 3}",
            }
            for i, row in enumerate(manifest.rows)
        )
        return batches, replace(manifest, rows=rows)

    found = audit.run(brain, saying("train"), saying("test"), progressbar=False)
    told = found["controls"]["text"]["attackers"]["ngrams-cosine"]
    assert told["all"]["overall"]["eer"] < 0.1


def test_other_speeds_are_other_speakers(toy_corpus, monkeypatch):
    audit, brain, split, manifests = audited(toy_corpus, speeds=[1.0, 0.9])
    calls = []
    real = representations._faster

    def faster(sig, speed):
        calls.append(speed)
        return real(sig, speed) if hasattr(sig, "data") else sig

    monkeypatch.setattr(representations, "_faster", faster)
    batches, manifest = split("train")
    seen = []

    class Spy(StatisticsEmbedder):
        def fit(self, data, labels, **settings):
            seen.append((len(data), set(labels)))
            return super().fit(data, labels, **settings)

    audit.speaker_attackers = {"spy": partial(SpeakerAttacker, Spy)}
    audit.run(
        brain, (list(batches), manifest), split("test"), progressbar=False
    )
    assert set(calls) == {0.9}
    assert seen == [(32, {f"s{i}{x}" for i in range(4) for x in ("", "@0.9")})]


def test_playing_faster_raises_the_pitch():
    t = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 100 * t)[None]
    fast = representations._faster(PaddedData(tone, torch.ones(1)), 1.25).data[
        0
    ]
    assert len(fast) == 12800
    assert fast.abs().max() < 1.1
    assert torch.fft.rfft(fast).abs().argmax() * 16000 / 12800 == 125


def test_cached_representations_are_those_of_the_model_and_data(
    toy_corpus, tmp_path
):
    audit, brain, split, _ = audited(toy_corpus, cache=tmp_path)
    plain, *_ = audited(toy_corpus)
    first = plain.run(brain, split("train"), split("test"), progressbar=False)
    runs = []
    real = brain.represent
    brain.represent = lambda *a: runs.append(1) or real(*a)
    for _ in range(2):
        found = audit.run(
            brain, split("train"), split("test"), progressbar=False
        )
        assert found["taps"] == first["taps"]
    n_runs = len(runs)
    assert n_runs > 0
    with torch.no_grad():
        brain.modules["extra"] = torch.nn.Linear(1, 1)
    audit.run(brain, split("train"), split("test"), progressbar=False)
    assert len(runs) == 2 * n_runs  # another model: tapped again
    # Two models, three splits at one speed: nothing is overwritten.
    assert len(list(tmp_path.glob("*/*/raw.json"))) == 4
    index = next(tmp_path.glob("*/test-1/raw.json"))
    data = extract(
        brain, audit.taps, None, folder=index.parent,
        identity=json.loads(index.read_text())["identity"],
    )  # fmt: skip
    assert isinstance(data["raw"].frames, np.memmap)


def test_cached_representations_are_of_their_audio(toy_corpus, tmp_path):
    audit, brain, split, manifests = audited(toy_corpus, cache=tmp_path)

    def elsewhere(name):
        batches, manifest = split(name)
        rows = tuple({**r, "wav": f"/x/{r['ID']}"} for r in manifest.rows)
        return batches, replace(manifest, rows=rows)

    audit.run(brain, split("train"), split("test"), progressbar=False)
    audit.run(brain, elsewhere("train"), elsewhere("test"), progressbar=False)
    assert len(list(tmp_path.glob("*/*/raw.json"))) == 4


def test_a_killed_extraction_leaves_no_cache_of_another(toy_corpus, tmp_path):
    audit, brain, split, _ = audited(toy_corpus)

    def batches(value, fail_at=99):
        frames = {f"u{i}": torch.full((3, 4), value) for i in range(9)}
        for i, batch in enumerate(fake_batches(frames)):
            if i == fail_at:
                raise KeyboardInterrupt
            yield batch

    def tap(value, identity, fail_at=99):
        brain.frames = {f"u{i}": torch.full((3, 4), value) for i in range(9)}
        return extract(
            brain, audit.taps, batches(value, fail_at), progressbar=False,
            folder=tmp_path, identity=identity,
        )["raw"].frames  # fmt: skip

    first = tap(1.0, "A")
    with pytest.raises(KeyboardInterrupt):
        tap(7.0, "B", fail_at=2)
    assert (np.asarray(tap(1.0, "A")) == 1.0).all()
    assert (np.asarray(first) == 1.0).all()
    assert (np.asarray(tap(7.0, "B")) == 7.0).all()


def test_a_subset_may_hold_an_utterance_twice():
    data = Representations.of({"a": np.ones((2, 3)), "b": np.zeros((1, 3))})
    both = Representations.concatenated([data, data])
    part = both.subset([0, 2, 3])
    assert part.ids == ("a", "a", "b")
    assert part.counts.tolist() == [2, 2, 1]
    assert part.frames.sum() == 12
    with pytest.raises(ValueError, match="no utterances"):
        data.subset([])


def test_a_module_that_does_not_run_is_named(toy_corpus):
    frames = {"u0": torch.ones(3, 4)}
    brain = Frozen(frames)
    brain.modules["idle"] = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="'lazy' recorded nothing"):
        extract(
            brain, {"lazy": Tap("idle")}, fake_batches(frames),
            progressbar=False,
        )  # fmt: skip


def testfused_scores_are_better_than_each(toy_corpus):
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(30), 4)
    same = (who[:, None] == who).astype(float)
    noisy = [
        {"all": scale * (same + rng.normal(0, 1, same.shape))}
        for scale in (1.0, 100.0)
    ]
    together = fused(noisy)["all"]

    def rate(scores):
        i, j = np.triu_indices(len(who), 1)
        mated = who[i] == who[j]
        return equal_error_rate(scores[i, j][mated], scores[i, j][~mated])

    assert rate(together) < min(rate(a["all"]) for a in noisy) - 0.03


def test_shuffled_speakers_are_the_level_of_guessing():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(20), 6)
    i, j = np.triu_indices(len(who), 1)
    scores = (who[i] == who[j]) + rng.normal(0, 0.1, len(i))
    null = shuffled_speakers(scores, who, n_permutations=50)
    assert 0.4 < null["eer"].low < null["eer"].mean < null["eer"].high < 0.6
    assert null["min_cllr"].low > 0.9
    assert 0.01 < null["linkability"].mean < 0.2


@pytest.mark.parametrize(
    "change, message",
    [
        ({"gender": "M"}, "has both"),
        ({"wrd": ""}, "needs words"),
    ],
)
def test_faults_are_found_before_the_training(toy_corpus, change, message):
    audit, _, _, manifests = audited(
        toy_corpus, text_attackers={"ngrams": lambda: None}
    )
    first, *others = manifests["train"].rows
    rows = [{**first, **change}, *others]
    if "wrd" in change:
        rows = [{**row, **change} for row in rows]
    with pytest.raises(ManifestError, match=message):
        audit.check(
            replace(manifests["train"], rows=tuple(rows)), manifests["test"]
        )


def test_no_audit_is_one_sentence():
    with pytest.raises(ValueError, match="a recipe ends with one"):
        check_audit(None, None, None)


@pytest.mark.parametrize("kind", ["speaker", "attribute", "waveform"])
def test_attackers_that_cannot_learn_stop_a_recipe_before_it_trains(kind):
    def suite(epochs, speeds=(1.0,), attributes=("gender",)):
        network = partial(NetworkAttacker, SMALL, epochs=epochs, batch_size=8)
        given = {"some": network}
        if kind != "attribute":
            given = {"some": partial(SpeakerAttacker, network)}
        makers = {"speaker": {}, "attribute": {}, "waveform": {}, kind: given}
        return SimpleNamespace(
            check=lambda train, test: None,
            speeds=speeds,
            attributes=attributes,
            **{f"{key}_attackers": value for key, value in makers.items()},
        )

    train = SimpleNamespace(rows=range(8))
    check_audit(suite(MIN_STEPS), train, None)  # two crops: two steps a pass
    with pytest.raises(
        ValueError, match=f"audit, {kind} some: .* 2 steps learns"
    ):
        check_audit(suite(1), train, None)
    # Attributes are not heard at other speeds, or not asked for at all.
    speeds = (1.0, 0.9, 1.1)
    if kind == "attribute":
        with pytest.raises(ValueError, match="8 steps learns"):
            check_audit(suite(4, speeds), train, None)
        check_audit(suite(1, attributes=()), train, None)
    else:
        check_audit(suite(4, speeds), train, None)


def test_attackers_are_chosen_on_speakers_of_their_own():
    def manifest(*speakers):
        rows = tuple({"ID": "a", "spk_id": s} for s in speakers)
        return Manifest(Path("m.csv"), ("ID", "spk_id"), rows)

    train, test = manifest("a", "a", "b"), manifest("c", "c", "d")
    assert may_choose(manifest("e", "e", "f"), train, test)
    assert not may_choose(manifest("e", "e", "c"), train, test)
    assert not may_choose(manifest("e", "f"), train, test)  # nothing mated
    assert not may_choose(manifest("e", "e", ""), train, test)
    unlabelled = Manifest(Path("m.csv"), ("ID",), ({"ID": "a"},))
    assert not may_choose(unlabelled, train, test)


def test_speakers_of_the_training_choose_no_attacker(toy_corpus):
    audit, brain, split, _ = audited(toy_corpus)
    found = audit.run(
        brain, split("train"), split("test"), dev=split("train"),
        progressbar=False,
    )  # fmt: skip
    attack = found["taps"]["raw"]["speaker"]
    assert all("dev_eer" not in a for a in attack["attackers"].values())
    assert "dev" not in found


def test_an_audit_refuses_speakers_that_the_attacker_knows(toy_corpus):
    audit, brain, split, _ = audited(toy_corpus)
    with pytest.raises(ManifestError, match="'s0' is also in"):
        audit.run(brain, split("train"), split("train"), progressbar=False)


def test_an_audit_needs_speakers_and_two_classes(toy_corpus):
    audit, brain, split, manifests = audited(toy_corpus)
    batches, manifest = split("test")
    first, *others = manifest.rows
    nameless = replace(manifest, rows=({**first, "spk_id": ""}, *others))
    with pytest.raises(ManifestError, match="empty 'spk_id'"):
        audit.run(brain, split("train"), (batches, nameless), progressbar=False)
    batches, manifest = split("train")
    women = replace(
        manifest, rows=tuple({**row, "gender": "F"} for row in manifest.rows)
    )
    with pytest.raises(ManifestError, match="'gender' has 1 values"):
        audit.run(brain, (batches, women), split("test"), progressbar=False)
    single = {row["spk_id"]: row for row in manifests["test"].rows}
    lone = replace(manifests["test"], rows=tuple(single.values()))
    with pytest.raises(ManifestError, match="no mated trials"):
        audit.check(manifest, lone)


def test_utterances_of_nobody_are_not_a_speaker(toy_corpus):
    audit, brain, split, manifests = audited(toy_corpus)
    batches, manifest = split("train")
    rows = tuple(
        {**row, "spk_id": ""} if row["spk_id"] == "s0" else row
        for row in manifest.rows
    )
    seen, taught = [], NetworkAttacker.fit

    class Spy(NetworkAttacker):
        def fit(self, data, labels, **settings):
            seen.append(set(labels))
            return taught(self, data, labels, **settings)

    spy = partial(Spy, SMALL, epochs=5, batch_size=4, segment=0.5)
    audit.speaker_attackers = {"spy": partial(SpeakerAttacker, spy)}
    audit.run(
        brain,
        (batches, replace(manifest, rows=rows)),
        split("test"),
        progressbar=False,
    )
    assert seen == [{"s1", "s2", "s3"}]


def test_a_fingerprint_ignores_places_and_sees_labels(toy_corpus):
    _, paths = toy_corpus
    a = read_manifest(paths["test"], "/here")
    b = read_manifest(paths["test"], "/there")
    assert a.fingerprint() == b.fingerprint()
    changed = ({**a.rows[0], "gender": "X"}, *a.rows[1:])
    assert replace(a, rows=changed).fingerprint() != a.fingerprint()
    assert provenance()["speechbrain_privacy"]


def test_results_never_hold_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"eer": float("nan")})
    assert list(tmp_path.iterdir()) == []
