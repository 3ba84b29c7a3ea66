"""Speech without transcripts: datasets, and boundaries that come with them."""

import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.epoch_loop import EpochCounter

from speechbrain_privacy.brains.pretraining import PretrainingBrain
from speechbrain_privacy.dataio.alignments import AlignmentError
from speechbrain_privacy.dataio.speech import load_speech_data
from speechbrain_privacy.masking.boundaries import BoundaryDetector
from speechbrain_privacy.masking.store import (
    AlignedBoundaries,
    StoredBoundaries,
    stored_boundaries,
)


def load(toy_corpus, tmp_path, attributes=(), begins=None):
    folder, paths = toy_corpus
    manifests = {}
    tmp_path.mkdir(exist_ok=True)
    for split, path in paths.items():  # a store must not lie in the samples
        manifests[split] = tmp_path / path.name
        manifests[split].write_text(path.read_text())
    return load_speech_data(
        manifests, list(attributes), tmp_path / "save", folder, begins=begins
    )


def test_items_hold_what_is_needed(toy_corpus, tmp_path):
    data = load(toy_corpus, tmp_path, ["spk_id", "gender"])
    item = data.datasets["train"][0]
    assert set(item) == {"id", "sig", "labels"}
    assert item["labels"].shape == (2,)
    assert data.labels.sizes["gender"] == 2


def test_another_corpus_in_the_same_folder_is_refused(toy_corpus, tmp_path):
    load(toy_corpus, tmp_path)
    with pytest.raises(ValueError, match="other 'attributes'"):
        load(toy_corpus, tmp_path, ["gender"])


def test_boundaries_come_with_the_data(toy_corpus, tmp_path):
    detector = BoundaryDetector(rate=5.0)
    data = load(toy_corpus, tmp_path, begins=StoredBoundaries(lambda: detector))
    known = stored_boundaries(data.manifests["train"], detector)
    assert data.spent["boundaries"]["flops"] > 0
    items = [data.datasets["train"][i] for i in range(2)]
    batch = PaddedBatch(items)
    found, counts = detector(*batch.sig)
    for row, item in enumerate(items):
        at = item["begins"].nonzero().squeeze(1)
        assert torch.equal(at, known[item["id"]])
        assert len(item["begins"]) == counts[row]
        given = batch.begins.data[row, : counts[row]]
        assert torch.equal(given, found[row, : counts[row]])


def test_alignments_must_know_every_utterance(toy_corpus, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("utt_id,start,end,phone\nu,0.0,0.1,x\n")
    with pytest.raises(AlignmentError, match="no alignment of"):
        load(toy_corpus, tmp_path, begins=AlignedBoundaries(path))


class Listening(torch.nn.Module):
    """An objective that remembers what it was told."""

    def forward(self, feats, lengths, begins=None, speech=None):
        self.told = begins, speech
        raise StopIteration


def test_a_brain_takes_them_from_the_data_or_finds_them(toy_corpus, tmp_path):
    listening = Listening()

    def brain(**settings):
        return PretrainingBrain(
            modules={
                "features": torch.nn.Identity(),
                "normalize": torch.nn.Identity(),
                "objective": listening,
            },
            optimizers={},
            epoch_counter=EpochCounter(1),
            run_opts={"device": "cpu"},
            **settings,
        )

    brain_of = brain(boundaries=BoundaryDetector(rate=5.0))
    brain_of.modules.normalize.forward = lambda x, lengths: x
    data = load(toy_corpus, tmp_path)
    batch = PaddedBatch([data.datasets["train"][0]])
    with pytest.raises(StopIteration):
        brain_of.compute_forward(batch, None)
    found, _ = brain_of.boundaries(*batch.sig)
    assert torch.equal(listening.told[0], found)

    marked = load(
        toy_corpus,
        tmp_path / "b",
        begins=lambda manifest: {
            row["ID"]: torch.tensor([3]) for row in manifest.rows
        },
    )
    batch = PaddedBatch([marked.datasets["train"][0]])
    with pytest.raises(StopIteration):
        brain_of.compute_forward(batch, None)
    assert listening.told[0][0].nonzero().tolist() == [[3]]
    brain_of.wav_augment = torch.nn.Identity()
    with pytest.raises(ValueError, match="augmentation may move"):
        brain_of.compute_forward(batch, None)
