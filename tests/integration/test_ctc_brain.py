"""The CTC Brain on its own: augmentation, labels, decoding."""

import pytest
import speechbrain as sb
import torch
from speechbrain.augment.augmenter import Augmenter
from speechbrain.augment.time_domain import RandAmp
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.processing.features import InputNormalization
from speechbrain.utils.epoch_loop import EpochCounter

from speechbrain_privacy.brains.ctc import CTCBrain
from speechbrain_privacy.dataio.tokenizer import Tokenizer
from speechbrain_privacy.nnet.adversaries import Adversary, AdversaryEnsemble


class Frames(torch.nn.Module):
    """Ten samples make a frame of ten channels."""

    def forward(self, x):
        return x[:, : x.shape[1] // 10 * 10].unflatten(1, (-1, 10))


class Encoder(torch.nn.Module):
    """Adds nothing; remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(10))

    def forward(self, feats, lengths):
        self.seen = feats
        return feats * self.scale, lengths


class Spy(AdversaryEnsemble):
    """Remembers the labels that it was given."""

    def forward(self, hidden, lengths, labels):
        self.seen = labels
        return super().forward(hidden, lengths, labels)


def make_brain(tokenizer, **settings):
    spy = Spy(
        [
            Adversary(10, "spk_id", n_classes=3),
            Adversary(10, "gender", n_classes=2),
        ]
    )
    return CTCBrain(
        tokenizer=tokenizer,
        attributes=["spk_id", "gender"],
        modules={
            "features": Frames(),
            "normalize": InputNormalization(norm_type="sentence"),
            "encoder": Encoder(),
            "head": torch.nn.Linear(10, 12),
            "adversaries": spy,
        },
        optimizers={
            "model": torch.optim.SGD,
            "adversaries": torch.optim.SGD,
        },
        epoch_counter=EpochCounter(2),
        run_opts={"device": "cpu", "noprogressbar": True},
        **settings,
    )


@pytest.fixture
def tokenizer():
    return Tokenizer("char", 12).train(["AB", "BA CA"])


def make_batch(tokenizer):
    return PaddedBatch(
        [
            {
                "id": f"u{i}",
                "sig": torch.randn(200 - 20 * i),
                "tokens": torch.tensor(tokenizer.encode(text)),
                "wrd": text,
                "labels": torch.tensor([i, i % 2]),
            }
            for i, text in enumerate(["AB", "BA CA", "CAB"])
        ]
    )


def copies():
    """The original and two louder or softer copies of everything."""
    return Augmenter(
        concat_original=True,
        repeat_augment=2,
        min_augmentations=1,
        max_augmentations=1,
        augmentations=[RandAmp(0.5, 2.0)],
    )


@pytest.mark.parametrize("place", ["wav_augment", "fea_augment"])
def test_every_label_follows_its_copy(tokenizer, place):
    brain = make_brain(tokenizer, **{place: copies()})
    brain.epoch = 1
    out = brain.compute_forward(make_batch(tokenizer), sb.Stage.TRAIN)
    labels = brain.modules.adversaries.seen
    assert labels["spk_id"].tolist() == [0, 1, 2] * 3
    assert labels["gender"].tolist() == [0, 1, 0] * 3
    texts = [
        tokenizer.decode([t for t in row.tolist() if t]) for row in out.tokens
    ]
    assert texts == ["AB", "BA CA", "CAB"] * 3
    assert len(out.lengths) == len(out.log_probs) == 9
    loss = brain.compute_objectives(out, make_batch(tokenizer), sb.Stage.TRAIN)
    assert torch.isfinite(loss)
    # Copies of one utterance have one shape: same signal, other gain.
    seen = brain.modules.encoder.seen
    assert torch.allclose(seen[0, :5].sign(), seen[3, :5].sign())


def test_augmentation_waits_for_its_time_and_for_training(tokenizer):
    brain = make_brain(tokenizer, wav_augment=copies(), augment_from=0.5)
    batch = make_batch(tokenizer)
    brain.epoch = 1
    assert len(brain.compute_forward(batch, sb.Stage.TRAIN).lengths) == 3
    brain.epoch = 2
    assert len(brain.compute_forward(batch, sb.Stage.TRAIN).lengths) == 9
    assert len(brain.compute_forward(batch, sb.Stage.VALID).lengths) == 3


def test_tokens_that_do_not_exist_cannot_be_emitted(tokenizer):
    brain = make_brain(tokenizer)
    brain.epoch = 1
    out = brain.compute_forward(make_batch(tokenizer), sb.Stage.VALID)
    assert out.log_probs.shape[2] == len(tokenizer) < 12
    assert torch.allclose(out.log_probs.exp().sum(2), torch.ones(1), atol=1e-5)


def test_transcripts_and_error_rates(tokenizer, tmp_path):
    brain = make_brain(tokenizer)
    brain.on_stage_start(sb.Stage.TEST)
    brain.transcripts = [("u0", "A B C", "A B"), ("u1", "A", "A")]
    assert brain.word_errors().rate == pytest.approx(25.0)
    assert brain.character_errors().errors == 2
    brain.write_transcripts(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "ID,reference,hypothesis",
        "u0,A B C,A B",
        "u1,A,A",
    ]


def test_adversary_accuracy_counts_known_labels_only(tokenizer):
    brain = make_brain(tokenizer)
    brain.epoch = 1
    items = []
    for i in range(4):
        batch_item = {
            "id": f"u{i}",
            "sig": torch.randn(200),
            "tokens": torch.tensor(tokenizer.encode("AB")),
            "wrd": "AB",
            "labels": torch.tensor([i % 3 if i < 3 else -1, -1]),
        }
        items.append(batch_item)
    found = brain.adversary_accuracy(
        items, batch_size=2, collate_fn=PaddedBatch
    )
    assert list(found) == ["0_spk_id"]
    # Three known speakers: a multiple of one third.
    assert found["0_spk_id"] * 3 == pytest.approx(round(found["0_spk_id"] * 3))
