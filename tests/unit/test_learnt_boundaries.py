"""Boundaries by learning: the objective, the network, the detector."""

import math
import pickle

import numpy as np
import pytest
import torch

from speechbrain_privacy.dataio.manifest import read_manifest, write_manifest
from speechbrain_privacy.lobes.next_frame import NextFrame
from speechbrain_privacy.masking import store
from speechbrain_privacy.masking.boundaries import BoundaryDetector
from speechbrain_privacy.masking.cepstra import LevelledCepstra
from speechbrain_privacy.masking.evaluation import check_scored
from speechbrain_privacy.masking.learnt import FrameEncoder

FREQUENCIES = (300, 1200, 500, 2500, 800, 3500, 400, 1800)


def beeps(seed, n=8):
    """Tones of random pitch and length; the waveform, and frames where they
    change."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(7, 17, n)
    pieces = [
        0.3 * np.sin(2 * np.pi * pitch * np.arange(160 * length) / 16000)
        for pitch, length in zip(
            draw.permutation(FREQUENCIES)[:n], lengths, strict=True
        )
    ]
    noise = 1e-3 * draw.standard_normal(160 * lengths.sum())
    wav = np.concatenate(pieces) + noise
    return torch.from_numpy(wav).float(), np.cumsum(lengths)[:-1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of a detector that has heard eighty sequences of tones."""
    torch.manual_seed(0)
    encoder = FrameEncoder(channels=16, output_size=8)
    objective = NextFrame(encoder)
    features = LevelledCepstra()
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    losses = []
    for step in range(20):
        wavs = [beeps(100 + 4 * step + i)[0] for i in range(4)]
        batch = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        lengths = torch.tensor([len(w) / batch.shape[1] for w in wavs])
        out = objective(features(batch, lengths), lengths)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(float(out.loss.detach()))
    assert losses[-1] < losses[0] - 0.1
    path = tmp_path_factory.mktemp("learnt") / "encoder.ckpt"
    torch.save(encoder.state_dict(), path)
    return path


def test_finds_changes_of_tones_it_has_not_heard(trained):
    hits = found = 0
    for seed in range(10):
        wav, changes = beeps(seed)
        rate = len(changes) / (len(wav) / 16000)
        detector = BoundaryDetector("learnt", rate, learnt_from=trained)
        begins, _ = detector(wav[None])
        at = begins[0].nonzero().squeeze(1).numpy()
        hits += (np.abs(at[:, None] - changes).min(1) <= 2).sum()
        found += len(at)
    assert found == 70 and hits >= 63


def test_a_row_is_what_it_is_alone(trained):
    short, long = (beeps(seed)[0] for seed in (1, 2))
    short = short[:5000]
    batch = torch.nn.utils.rnn.pad_sequence([short, long], batch_first=True)
    # What lies in padding is nothing.
    batch[0, 5000:] = 9.0
    detector = BoundaryDetector("learnt", 9.0, learnt_from=trained)
    lengths = torch.tensor([5000 / batch.shape[1], 1.0])
    begins, counts = detector(batch, lengths)
    for row, wav in zip(range(2), (short, long), strict=True):
        alone, n = detector(wav[None])
        assert counts[row] == n[0]
        assert torch.equal(begins[row, : n[0]], alone[0])
    assert not begins[0, counts[0] :].any()


class AsIs(torch.nn.Module):
    """Vectors are what they are."""

    def forward(self, x, lengths):
        return x, lengths


def test_distractors_come_from_the_own_utterance():
    # Told apart from the other utterance's, the loss would be less.
    x = torch.eye(2).unsqueeze(1).repeat(1, 9, 1)
    out = NextFrame(AsIs(), n_distractors=4, ahead=1)(
        x, torch.tensor([1.0, 5 / 9])
    )
    assert out.count == 8 + 4
    assert float(out.loss) == pytest.approx(math.log(5))
    # And never from padding.
    x[1, 5:] = -x[1, 0]
    again = NextFrame(AsIs(), n_distractors=4, ahead=1)(
        x, torch.tensor([1.0, 5 / 9])
    )
    assert float(again.loss) == pytest.approx(math.log(5))


def test_what_has_no_next_frame_has_no_loss():
    x = torch.randn(1, 3, 4, requires_grad=True)
    out = NextFrame(AsIs(), ahead=3)(x, torch.ones(1))
    assert out.count == 0 and float(out.loss) == 0.0
    out.loss.backward()
    assert not x.grad.any()


def test_a_file_tells_its_sizes(tmp_path):
    encoder = FrameEncoder(13, 24, 3, 5, 12)
    path = tmp_path / "encoder.ckpt"
    torch.save(encoder.state_dict(), path)
    again = FrameEncoder.from_file(path)
    x, lengths = torch.rand(2, 30, 13), torch.tensor([1.0, 0.4])
    assert torch.equal(encoder(x, lengths)[0], again(x, lengths)[0])


class Malicious:
    def __reduce__(self):
        return (open, ("/tmp/should-not-be-there", "w"))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "encoder.ckpt"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(ValueError, match="encoder.ckpt holds no boundary"):
        BoundaryDetector("learnt", learnt_from=path)
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(ValueError, match="more than weights: not read"):
        BoundaryDetector("learnt", learnt_from=path)
    with pytest.raises(FileNotFoundError, match="there are no weights"):
        BoundaryDetector("learnt", learnt_from=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no checkpoint of an encoder"):
        BoundaryDetector("learnt", learnt_from=tmp_path)


def test_weights_and_method_go_together(trained):
    with pytest.raises(ValueError, match="'learnt' needs the run of one"):
        BoundaryDetector("learnt")
    with pytest.raises(ValueError, match="and no other detector does"):
        BoundaryDetector("variance", learnt_from=trained)


@pytest.mark.parametrize(
    "wrong", [{"n_distractors": 0}, {"temperature": 0}, {"ahead": 0}]
)
def test_impossible_settings_are_named(wrong):
    with pytest.raises(ValueError, match="n_distractors and ahead are 1 or"):
        NextFrame(FrameEncoder(), **wrong)
    with pytest.raises(ValueError, match="kernel_size is odd .* not 4 and 2"):
        FrameEncoder(kernel_size=4)


def test_precision_of_the_training_changes_nothing(trained):
    detector = BoundaryDetector("learnt", 9.0, learnt_from=trained)
    wavs = torch.stack([beeps(seed)[0][:8000] for seed in range(20)])
    once, _ = detector(wavs)
    with torch.autocast("cpu", torch.bfloat16):
        again, _ = detector(wavs)
    assert torch.equal(once, again)


def test_what_is_as_near_as_the_next_frame_is_not_told_from_it():
    out = NextFrame(AsIs())(torch.ones(1, 9, 4), torch.ones(1))
    assert float(out.loss) == pytest.approx(math.log(2))
    assert float(out.correct) == 0.0


def test_other_sizes_and_contents_are_named(tmp_path):
    path = tmp_path / "encoder.ckpt"
    torch.save(FrameEncoder(input_size=80).state_dict(), path)
    with pytest.raises(ValueError, match="hears 80 cepstra, not 13"):
        BoundaryDetector("learnt", learnt_from=path)
    torch.save({"convs.0.weight": "text"}, path)
    with pytest.raises(ValueError, match="holds no weights by name"):
        BoundaryDetector("learnt", learnt_from=path)


def test_what_cannot_be_scored_is_told_beforehand(tmp_path):
    rows = [
        {"ID": f"u{i}", "duration": "1.0", "wav": "u.wav", "spk_id": "s"}
        for i in range(2)
    ]
    write_manifest(tmp_path / "m.csv", rows)
    manifest = read_manifest(tmp_path / "m.csv")
    known = {"u0": None, "elsewhere": None}
    found, half = check_scored(manifest, known, (9.0,))
    assert [row["ID"] for row in found] == ["u0"] and half == {"s": 0}
    with pytest.raises(ValueError, match="m.csv: choosing a rate needs two"):
        check_scored(manifest, known, (8.0, 9.0))
    with pytest.raises(ValueError, match="m.csv: none of its IDs"):
        check_scored(manifest, {}, (9.0,))
    with pytest.raises(ValueError, match="one rate or more"):
        check_scored(manifest, known, ())


def test_other_weights_find_boundaries_anew(trained, tmp_path):
    from speechbrain.dataio import audio_io

    wav, _ = beeps(0)
    audio_io.save(str(tmp_path / "a.wav"), wav[None], 16000)
    row = {"ID": "a", "duration": f"{len(wav) / 16000:.4f}"}
    row |= {"wav": str(tmp_path / "a.wav"), "spk_id": "s"}
    write_manifest(tmp_path / "m.csv", [row])
    manifest = read_manifest(tmp_path / "m.csv")
    detector = BoundaryDetector("learnt", 9.0, learnt_from=trained)
    first = store.stored_boundaries(manifest, detector)["a"]
    torch.manual_seed(1)
    other = tmp_path / "other.ckpt"
    torch.save(FrameEncoder().state_dict(), other)
    detector = BoundaryDetector("learnt", 9.0, learnt_from=other)
    second = store.stored_boundaries(manifest, detector)["a"]
    assert not torch.equal(first, second)
    # Runs with one manifest and two detectors do not take turns in one file.
    assert len(list(tmp_path.glob("m.learnt-9-*.npz"))) == 2
