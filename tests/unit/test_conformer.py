from pathlib import Path

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_privacy.brains.milestones import Milestones
from speechbrain_privacy.lobes.conformer import ChannelDropout, ConformerLobe


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_an_utterance_is_the_same_alone_and_in_a_padded_batch(stride):
    lobe = ConformerLobe(
        20, d_model=16, num_layers=2, d_ffn=32, stride=stride
    ).eval()
    feats, counts = torch.randn(3, 90, 20), [90, 53, 7]
    for i, n in enumerate(counts):
        feats[i, n:] = 30.0  # padding that would hurt
    lengths = torch.tensor(counts) / 90
    with torch.no_grad():
        together, relative = lobe(feats, lengths)
        for i, n in enumerate(counts):
            alone, _ = lobe(feats[i : i + 1, :n], torch.ones(1))
            frames = alone.shape[1]
            assert round((relative[i] * together.shape[1]).item()) == frames
            assert torch.allclose(together[i, :frames], alone[0], atol=1e-5)


def test_less_than_a_stride_still_gives_a_frame():
    lobe = ConformerLobe(20, d_model=16, num_layers=1, d_ffn=16)
    hidden, lengths = lobe(torch.randn(1, 1, 20), torch.ones(1))
    assert hidden.shape == (1, 1, 16) and lengths.tolist() == [1.0]


def test_no_dropout_draws_a_mask_per_frame():
    lobe = ConformerLobe(20, d_model=16, num_layers=2, d_ffn=32, dropout=0.3)
    kinds = [type(m) for m in lobe.modules()]
    assert torch.nn.Dropout not in kinds
    assert kinds.count(ChannelDropout) > 2


def test_channel_dropout_keeps_the_mean_and_shares_its_mask():
    dropout = ChannelDropout(0.25)
    x = torch.ones(200, 5, 40)
    out = dropout(x)
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert out.mean().item() == pytest.approx(1.0, abs=0.03)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert dropout.eval()(x) is x


@pytest.mark.parametrize(
    "make", [lambda: ChannelDropout(1.0), lambda: ConformerLobe(20, stride=3)]
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(ValueError):
        make()


class Bomb:
    """Would run code if it were unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_weights_of_a_pre_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = {"d_model": 16, "num_layers": 1, "d_ffn": 16}
    before = ConformerLobe(20, **sizes).eval()
    torch.save(before.state_dict(), "encoder.ckpt")
    after = ConformerLobe(20, **sizes, weights="encoder.ckpt").eval()
    feats, lengths = torch.randn(1, 30, 20), torch.ones(1)
    assert torch.equal(before(feats, lengths)[0], after(feats, lengths)[0])
    # Of a training that went on.
    Milestones("kept", [3]).keep(3, before, {"flops": 1.0})
    kept = ConformerLobe(20, **sizes, weights="kept/epoch-0003.ckpt").eval()
    assert torch.equal(before(feats, lengths)[0], kept(feats, lengths)[0])
    with pytest.raises(ValueError, match=r"another architecture: .*missing"):
        ConformerLobe(20, **{**sizes, "num_layers": 2}, weights="encoder.ckpt")
    with pytest.raises(ValueError, match=r"is \(16.* there and \(8"):
        ConformerLobe(20, **{**sizes, "d_model": 8}, weights="encoder.ckpt")
    with pytest.raises(FileNotFoundError, match="no weights"):
        ConformerLobe(20, **sizes, weights="elsewhere.ckpt")
    # The folder of a run: it is said where its encoder is.
    Checkpointer("run/save", {"encoder": before}).save_checkpoint()
    with pytest.raises(FileNotFoundError, match="run/save/CKPT.*encoder.ckpt"):
        ConformerLobe(20, **sizes, weights="run")
    torch.save({"bomb": Bomb()}, "bomb.ckpt")
    with pytest.raises(ValueError, match="more than weights"):
        ConformerLobe(20, **sizes, weights="bomb.ckpt")
    assert not Path("exploded").exists()
    Path("text.ckpt").write_text("hello")
    torch.save(torch.ones(3), "tensor.ckpt")
    Path("cut.ckpt").write_bytes(Path("encoder.ckpt").read_bytes()[:500])
    for name in ("text", "tensor", "cut"):
        with pytest.raises(ValueError, match=rf"{name}.ckpt holds"):
            ConformerLobe(20, **sizes, weights=f"{name}.ckpt")


def test_weights_tell_whether_places_were_added(tmp_path):
    """They are no parameters; without them hidden frames are others."""
    sizes = {"d_model": 16, "num_layers": 1, "d_ffn": 16, "frontend": "patches"}
    torch.save(
        ConformerLobe(8, places=True, **sizes).state_dict(), tmp_path / "p"
    )
    told = ConformerLobe(8, places=True, weights=tmp_path / "p", **sizes)
    with pytest.raises(ValueError, match="with_places is"):
        ConformerLobe(8, weights=tmp_path / "p", **sizes)
    # Older versions did not tell.
    older = told.state_dict()
    del older["with_places"]
    torch.save(older, tmp_path / "o")
    ConformerLobe(8, places=True, weights=tmp_path / "o", **sizes)
    torch.nn.Sequential(told).load_state_dict(
        {f"0.{name}": x for name, x in older.items()}
    )
