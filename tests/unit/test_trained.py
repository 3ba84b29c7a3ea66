"""A run's encoder in somebody else's model."""

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_privacy.integrations.huggingface import write_tiny
from speechbrain_privacy.lobes.pretrained import PretrainedEncoder
from speechbrain_privacy.lobes.trained import TrainedEncoder, without_weights

VALUES = """\
seed: 1
output_folder: nowhere
model:
  sample_rate: 16000
  # of the hub, or a folder
  d_model: 16

  features: &id001 !new:speechbrain_privacy.lobes.frontends.Waveform
  normalize: &id002 !new:speechbrain_privacy.lobes.frontends.Waveform
  lobe: &id003 !new:speechbrain_privacy.lobes.pretrained.PretrainedEncoder
    source: {source}
    lora:
      rank: 2
data_folder: !PLACEHOLDER
modules:
  encoder: *id003
"""


@pytest.fixture
def run(tmp_path):
    source = tmp_path / "tiny"
    write_tiny(source, "hubert", hidden_size=16, conv_dim=8, num_layers=1)
    torch.manual_seed(0)
    encoder = PretrainedEncoder(str(source), lora={"rank": 2})
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    folder = tmp_path / "run"
    (folder / "save").mkdir(parents=True)
    (folder / "hyperparams.yaml").write_text(VALUES.format(source=source))
    return folder, encoder.eval()


def save(folder, **parts):
    Checkpointer(folder / "save", parts).save_checkpoint()


def test_adapters_come_along(run):
    folder, encoder = run
    save(folder, encoder=encoder)
    found = TrainedEncoder.from_pretrained(folder)
    wavs, lengths = torch.randn(2, 4000), torch.tensor([1.0, 0.5])
    with torch.no_grad():
        wanted = encoder(wavs, lengths)
    for mine, theirs in zip(found(wavs, lengths), wanted, strict=True):
        assert torch.equal(mine, theirs)
    assert found.grid == encoder.grid and found.sample_rate == 16000
    assert not any(p.requires_grad for p in found.parameters())


def test_a_bottleneck_is_not_left_out_silently(run):
    folder, encoder = run
    save(folder, encoder=encoder, bottleneck=torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="a bottleneck follows the encoder"):
        TrainedEncoder(folder)


def test_what_is_no_run(run):
    folder, _ = run
    with pytest.raises(FileNotFoundError, match="no checkpoint of an encoder"):
        TrainedEncoder(folder)
    (folder / "hyperparams.yaml").write_text("seed: 1\n")
    with pytest.raises(ValueError, match="has no block 'model'"):
        TrainedEncoder(folder)


@pytest.mark.parametrize(
    "path",
    ["a.ckpt", "results/CKPT+2026-01-01+00-00-00+00/encoder.ckpt", "a b.ckpt"],
)
@pytest.mark.parametrize("between", [" ", "\n      "])
def test_what_a_run_began_with_is_forgotten(path, between):
    rest = "  features: !new:x\n    weights: {spk_id: 1}\n"
    values = f"model:\n  weights:{between}{path}\n\n{rest}"
    assert without_weights(values) == f"model:\n  weights:\n\n{rest}"
    nothing = f"model:\n  weights:\n{rest}"
    assert without_weights(nothing) == nothing
