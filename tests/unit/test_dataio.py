import numpy as np
import pytest
import soundfile
import torch

from speechbrain_privacy.dataio.asr import load_asr_data
from speechbrain_privacy.dataio.audio import AudioError, read_utterance
from speechbrain_privacy.dataio.labels import UNKNOWN, AttributeLabels
from speechbrain_privacy.dataio.manifest import ManifestError, write_manifest
from speechbrain_privacy.dataio.tokenizer import BLANK, Tokenizer

RATE = 16000


def test_channels_are_averaged_and_samples_kept(tmp_path):
    path = str(tmp_path / "a.wav")
    sound = np.array([[0.5, -0.5], [0.25, 0.75]], dtype=np.float32)
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    assert torch.allclose(read_utterance(path, RATE), torch.tensor([0.0, 0.5]))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_bytes(b"not audio at all"), "cannot be read"),
        (lambda path: soundfile.write(path, np.zeros(0), RATE), "no samples"),
        (lambda path: soundfile.write(path, np.zeros(9), 8000), "sample_rate"),
        (
            lambda path: soundfile.write(
                path, np.array([0.0, np.nan]), RATE, subtype="FLOAT"
            ),
            "NaN or infinite",
        ),
    ],
)
def test_unusable_audio_is_one_sentence_with_the_file(tmp_path, make, message):
    path = tmp_path / "a.wav"
    make(path)
    with pytest.raises(AudioError) as fault:
        read_utterance(str(path), RATE)
    assert str(path) in str(fault.value) and message in str(fault.value)


def test_audio_of_another_length_than_the_manifest_says(tmp_path):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.zeros(RATE), RATE)
    # What is rounded passes, and one second in a hundred of a long one.
    for seconds in (0.92, 1.0, 1.08):
        assert len(read_utterance(path, RATE, seconds)) == RATE
    for seconds in (0.85, 1.2):
        with pytest.raises(
            AudioError, match=rf"lasts 1.00 s, .*{seconds:.2f} s"
        ):
            read_utterance(path, RATE, seconds)


@pytest.mark.parametrize("kind, size", [("char", 30), ("bpe", 14)])
def test_tokenizer_round_trip_through_a_file(tmp_path, kind, size):
    texts = ["ABRA CADABRA", "BAD CAB", "DAB A CRAB"] * 4
    tokenizer = Tokenizer(kind, size).train(texts)
    tokenizer.save(tmp_path / "t.model")
    again = Tokenizer(kind, size).load(tmp_path / "t.model")
    for text in texts:
        ids = again.encode(text)
        assert BLANK not in ids
        assert again.decode(ids) == text
    assert len(again) <= size
    assert len(again.pieces) == len(again) and again.pieces[BLANK] == ""
    assert again.encode("Z")[-1] == BLANK  # never seen: cannot be emitted


def test_a_vocabulary_that_cannot_be_is_explained():
    with pytest.raises(ValueError, match="vocab_size"):
        Tokenizer("unigram", 5000).train(["A B"])
    with pytest.raises(ValueError, match="vocab_size"):
        Tokenizer("char", 3).train(["ABCDEF GHI"])
    with pytest.raises(ValueError, match="word"):
        Tokenizer("word", 10)


def test_labels_know_training_values_only():
    labels = AttributeLabels(["spk_id", "gender"]).learn(
        {"spk_id": ["b", "a", "b"], "gender": ["F", "M", ""]}
    )
    assert labels.sizes == {"spk_id": 2, "gender": 2}
    assert labels.encode({"spk_id": "b", "gender": "F"}) == [1, 0]
    assert labels.encode({"spk_id": "new", "gender": ""}) == [UNKNOWN] * 2
    assert labels.encode({}) == [UNKNOWN] * 2


def test_an_attribute_with_one_value_is_refused():
    with pytest.raises(ManifestError, match="'gender'.*1 different"):
        AttributeLabels(["gender"]).learn({"gender": ["F", "F", ""]})


def load(folder, paths, tmp_path, **settings):
    return load_asr_data(
        paths,
        Tokenizer("char", 10),
        ["spk_id", "gender"],
        tmp_path,
        folder,
        **settings,
    )


def test_items_carry_tokens_and_labels(toy_corpus, tmp_path):
    folder, paths = toy_corpus
    data = load(folder, paths, tmp_path)
    item = data.datasets["train"][0]
    assert item["sig"].shape == (RATE,)
    assert item["labels"].tolist() == [0, 0]
    assert (
        Tokenizer("char", 10)
        .load(tmp_path / "tokenizer.model")
        .decode(item["tokens"])
        == item["wrd"]
    )
    # Validation speakers are unknown, their gender is not.
    assert data.datasets["valid"][0]["labels"].tolist() == [UNKNOWN, 0]
    assert data.skipped == []


def rewritten(paths, split, folder, change):
    """A copy of the manifests with one row of ``split`` changed."""
    import csv

    with open(paths[split], newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows[0])
    write_manifest(folder / f"{split}.csv", rows)
    return {**paths, split: folder / f"{split}.csv"}


def test_training_utterances_too_short_for_ctc_are_skipped(
    toy_corpus, tmp_path
):
    folder, paths = toy_corpus
    paths = rewritten(
        paths, "train", tmp_path, lambda row: row.update(duration="0.1")
    )
    data = load(folder, paths, tmp_path)
    assert data.skipped == ["s0-u0"]
    assert len(data.datasets["train"]) == 15


def test_a_test_utterance_below_one_frame_is_an_error(toy_corpus, tmp_path):
    folder, paths = toy_corpus
    paths = rewritten(
        paths, "test", tmp_path, lambda row: row.update(duration="0.03")
    )
    with pytest.raises(ManifestError, match="'s6-u0'.*less than one frame"):
        load(folder, paths, tmp_path)


def test_only_short_utterances_are_an_error(toy_corpus, tmp_path):
    folder, paths = toy_corpus
    with pytest.raises(ManifestError, match="no usable utterance"):
        load(folder, paths, tmp_path, frames_per_second=2.0)


def test_an_empty_transcript_is_skipped_in_training_only(toy_corpus, tmp_path):
    folder, paths = toy_corpus
    silent = rewritten(paths, "train", tmp_path, lambda row: row.update(wrd=""))
    assert load(folder, silent, tmp_path / "a").skipped == ["s0-u0"]
    silent = rewritten(paths, "test", tmp_path, lambda row: row.update(wrd=""))
    with pytest.raises(ManifestError, match="'s6-u0' has an empty 'wrd'"):
        load(folder, silent, tmp_path / "b")


def test_a_run_is_not_continued_with_other_data(toy_corpus, tmp_path):
    folder, paths = toy_corpus
    load(folder, paths, tmp_path)
    load(folder, paths, tmp_path)
    other = rewritten(
        paths, "train", tmp_path, lambda row: row.update(wrd="A B C")
    )
    with pytest.raises(ValueError, match="other 'train'.*another output"):
        load(folder, other, tmp_path)


def test_no_attribute_at_all_is_named(toy_corpus, tmp_path):
    folder, paths = toy_corpus
    with pytest.raises(ValueError, match="attributes is empty"):
        load_asr_data(paths, Tokenizer("char", 10), [], tmp_path, folder)


@pytest.mark.parametrize("column", ["wrd", "spk_id", "gender"])
def test_an_empty_training_column_is_named(toy_corpus, tmp_path, column):
    import csv

    folder, paths = toy_corpus
    with open(paths["train"], newline="") as file:
        rows = [{**row, column: ""} for row in csv.DictReader(file)]
    write_manifest(tmp_path / "train.csv", rows)
    with pytest.raises(ManifestError, match=f"column '{column}' is empty"):
        load(folder, {**paths, "train": tmp_path / "train.csv"}, tmp_path)
