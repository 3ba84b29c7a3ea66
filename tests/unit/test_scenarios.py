"""Attackers who do not know of the protection, and the waveform's."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from speechbrain_privacy.attacks.backends import PLDA, Cosine
from speechbrain_privacy.attacks.network import NetworkAttacker
from speechbrain_privacy.attacks.raw import RawTDNN
from speechbrain_privacy.attacks.speaker import SpeakerAttacker
from speechbrain_privacy.attacks.statistics import StatisticsEmbedder
from speechbrain_privacy.audit import representations
from speechbrain_privacy.audit.attack import Utterances
from speechbrain_privacy.audit.audit import Audit
from speechbrain_privacy.audit.representations import (
    Representations,
    Tap,
    extract,
)
from speechbrain_privacy.audit.scenarios import attack_unaware
from speechbrain_privacy.dataio.manifest import (
    ManifestError,
    joined,
    read_manifest,
)
from tests.unit.test_audit import Frozen, audited, fake_batches, voices


class Means:
    """An embedder without training: the mean frame."""

    def fit(self, data, labels, **settings):
        return None

    def embed(self, data):
        return np.array([x.mean(0) for x in data.utterances()])


def make_attacker():
    return SpeakerAttacker(Means, {"plda": PLDA})


def protected(data, who, how):
    frames = how(data.frames).astype(np.float32)
    return Utterances(
        Representations(data.ids, frames, data.offsets),
        tuple({"spk_id": name} for name in who),
    )


def unaware(how):
    found = {}
    for split, (n, seed) in {"train": (30, 0), "test": (12, 1)}.items():
        data, who = voices(n, 5, 2.0, seed)
        found[split] = (
            protected(data, who, lambda x: x),
            protected(data, who, how),
        )
    train = found["train"]
    return attack_unaware(
        {"means": make_attacker}, train[0], train, found["test"]
    )


def eer(attacks, scenario):
    attack = attacks[scenario]
    return attack["attackers"][attack["chosen"]]["all"]["overall"]["eer"]


def test_a_turned_representation_fools_who_does_not_know():
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]
    found = unaware(lambda x: x @ turn)
    assert eer(found, "unprotected") < 0.1
    assert eer(found, "ignorant") > 0.3
    assert eer(found, "aligned") < 0.1  # the rotation is found
    assert eer(found, "lazy-informed") < eer(found, "ignorant")


def test_where_nothing_is_protected_nobody_is_fooled():
    found = unaware(lambda x: x)
    rates = [eer(found, name) for name in found]
    assert len(rates) == 4
    assert rates == pytest.approx([rates[0]] * 4, abs=1e-9)


def test_unaware_attackers_need_like_for_like():
    data, who = voices(4, 3, 1.0, 0)
    one = protected(data, who, lambda x: x)
    narrow = protected(data, who, lambda x: x[:, :3])
    found = attack_unaware(
        {"means": make_attacker}, one, (one, narrow), (one, narrow)
    )
    assert found == {"not_attacked": "8 channels without protection, 3 with it"}


def without_protection(toy_corpus, change=lambda split: split, **settings):
    audit, brain, split, _ = audited(toy_corpus, **settings)
    found = audit.run(
        brain,
        split("train"),
        split("test"),
        unprotected=(brain, change(split("train")), split("test")),
        progressbar=False,
    )
    return found


def test_an_audit_of_two_models_tells_what_each_attacker_knows(toy_corpus):
    found = without_protection(toy_corpus)
    scenarios = found["unaware"]["raw"]
    assert set(scenarios["ignorant"]["attackers"]) == {
        "statistics-plda",
        "tdnn-cosine",
        "fusion",
    }
    # Taught the same, they find the same: only knowledge differs.
    semi = found["taps"]["raw"]["speaker"]["attackers"]
    for name, attack in scenarios["lazy-informed"]["attackers"].items():
        rates = attack["all"]["intervals"], semi[name]["all"]["intervals"]
        assert rates[0]["eer"] == rates[1]["eer"]
    legal = found["taps"]["raw"]["speaker"]["legal"]
    assert set(legal) == {"all", "enrolment_2"}
    assert 0 <= legal["all"]["linking"]["value"] <= 1


def test_unaware_attackers_have_as_many_speakers(toy_corpus, monkeypatch):
    monkeypatch.setattr(representations, "_faster", lambda sig, speed: sig)
    seen = []

    class Spy(StatisticsEmbedder):
        def fit(self, data, labels, **settings):
            seen.append((len(data), sorted(set(labels))))
            return super().fit(data, labels, **settings)

    audit, brain, split, _ = audited(toy_corpus, speeds=[1.0, 0.9])
    audit.speaker_attackers = {"spy": partial(SpeakerAttacker, Spy)}

    def listed(name):
        batches, manifest = split(name)
        return list(batches), manifest

    audit.run(
        brain,
        listed("train"),
        listed("test"),
        unprotected=(brain, listed("train"), listed("test")),
        progressbar=False,
    )
    assert len(seen) == 2 and seen[0] == seen[1]
    assert seen[0][0] == 32


def test_other_data_are_found_before_the_attack(toy_corpus):
    def renamed(split):
        batches, manifest = split
        rows = tuple({**r, "spk_id": f"x{r['spk_id']}"} for r in manifest.rows)
        return batches, replace(manifest, rows=rows)

    def shorter(split):
        return list(split[0])[:-1], split[1]

    with pytest.raises(ValueError, match="unprotected run's train data are"):
        without_protection(toy_corpus, renamed)
    with pytest.raises(ValueError, match="leaves out other train utterances"):
        without_protection(toy_corpus, shorter)


def test_a_tap_that_only_one_model_has_is_not_attacked(toy_corpus):
    audit, brain, split, _ = audited(toy_corpus)
    audit.taps["inner"] = Tap("extra")
    brain.modules["extra"] = torch.nn.Identity()
    brain.modules["layer"].register_forward_hook(
        lambda module, inputs, output: brain.modules["extra"](output)
    )
    other = Frozen(brain.frames)
    found = audit.run(
        brain,
        split("train"),
        split("test"),
        unprotected=(other, split("train"), split("test")),
        progressbar=False,
    )
    assert found["unaware"]["inner"] == {
        "not_attacked": "the unprotected model has none"
    }
    assert "ignorant" in found["unaware"]["raw"]


def tones(n_speakers, n_utterances, seed):
    """Speakers who hum at a pitch of their own, in noise."""
    rng = np.random.default_rng(seed)
    pitch = rng.permutation(np.geomspace(200, 6000, n_speakers))
    found, who = {}, []
    for s in range(n_speakers):
        for u in range(n_utterances):
            t = np.arange(int(rng.integers(3000, 5000))) / 16000
            x = np.sin(2 * np.pi * pitch[s] * t + rng.uniform(0, 6))
            x = x + 0.3 * rng.normal(size=len(t))
            found[f"{s}-{u}"] = x[:, None]
            who.append(s)
    return Representations.of(found), who


def test_a_raw_attacker_learns_to_hear():
    data, who = tones(12, 6, seed=0)
    attacker = SpeakerAttacker(
        lambda: NetworkAttacker(
            lambda input_size: RawTDNN(
                input_size, filters=16, channels=16, embedding_size=8
            ),
            epochs=20,
            batch_size=12,
            segment=0.15,
        ),
        {"cosine": Cosine},
    )
    curve = attacker.fit(data, who, frames_per_second=16000)
    assert curve.accuracy[-1] > 0.8 > curve.accuracy[0]
    # Whole utterances alike, alone and in a padded batch.
    x = attacker.embedder.embed(data)
    assert np.allclose(
        x[7], attacker.embedder.embed(data.subset([7]))[0], atol=1e-4
    )


def test_a_raw_attacker_hears_waveforms_only():
    with pytest.raises(ValueError, match="one channel, not 8"):
        RawTDNN(8)


def test_a_tap_without_a_module_is_the_waveform():
    frames = {f"u{n}": torch.rand(n, 4) for n in (5, 3)}
    batches = list(fake_batches(frames))
    wave = torch.rand(2, 800)
    batches[0].sig.data = wave
    batches[0].sig.lengths = torch.tensor([1.0, 0.5])
    found = extract(
        Frozen(frames), {"heard": Tap()}, batches, progressbar=False
    )["heard"]
    assert found.counts.tolist() == [800, 400]
    assert np.array_equal(found.frames[800:, 0], wave[1, :400].numpy())


def test_an_audit_names_the_waveform_itself():
    with pytest.raises(ValueError, match="'waveform' names what"):
        Audit({"waveform": Tap("x")}, {"a": 1}, {}, waveform_attackers={"b": 2})


def test_joined_manifests_keep_what_is_known(toy_corpus, tmp_path):
    _, paths = toy_corpus
    first = read_manifest(paths["train"], "/none")
    path = tmp_path / "more.csv"
    path.write_text("ID,duration,wav,spk_id,age\nnew,1.0,a.wav,z,40\n")
    whole = joined([first, read_manifest(path)])
    assert whole.rows[: len(first.rows)] == first.rows
    assert whole.rows[-1] == {
        **dict.fromkeys(first.columns, ""),
        "ID": "new",
        "duration": 1.0,
        "wav": "a.wav",
        "spk_id": "z",
    }
    assert whole.path.name == "train.csv + more.csv"
    with pytest.raises(ManifestError, match="stands in .*train.csv already"):
        joined([first, read_manifest(paths["train"], "/none")])
