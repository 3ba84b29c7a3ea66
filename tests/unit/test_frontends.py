"""From waveforms to hidden frames: padding changes nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from speechbrain.lobes.features import Fbank
from speechbrain.processing.features import InputNormalization

from speechbrain_privacy.lobes.conformer import ConformerLobe
from speechbrain_privacy.lobes.frontends import Waveform, extract
from speechbrain_privacy.nnet.pooling import frame_counts

FEATURES = Fbank(n_mels=20)
NORMALIZE = InputNormalization(norm_type="sentence", epsilon=1e-5)


def batch_of(waves):
    lengths = torch.tensor([float(len(wave)) for wave in waves])
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    return padded, lengths / lengths.max()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=5))
def test_as_many_frames_as_alone(sizes):
    wavs, lengths = batch_of([torch.zeros(size) for size in sizes])
    feats, shares = extract(only_counted(FEATURES), wavs, lengths)
    wanted = [size // 160 + 1 for size in sizes]
    assert frame_counts(shares, feats.shape[1]).tolist() == wanted
    # SpeechBrain's normalisation hears exactly these, too.
    heard = torch.arange(feats.shape[1]) < shares[:, None] * feats.shape[1]
    assert heard.sum(1).tolist() == wanted


def only_counted(features):
    """Frames without computing them: what counts is how many there are."""

    class Counted:
        compute_STFT = features.compute_STFT

        def __call__(self, wavs):
            return wavs[:, ::160].new_zeros(
                len(wavs), wavs.shape[1] // 160 + 1, 1
            )

    return Counted()


@pytest.mark.parametrize(
    "frontend", ["convolution", "patches", "convolved_patches"]
)
def test_a_waveform_alone_and_in_a_padded_batch(frontend):
    torch.manual_seed(0)
    lobe = ConformerLobe(
        20, d_model=16, num_layers=2, d_ffn=32, frontend=frontend
    ).eval()
    # With 160 samples a frame, rounded shares would be one off for these.
    waves = [torch.randn(n) for n in (9_000, 4_799, 4_801, 8_879, 1_000)]

    def encode(some):
        wavs, lengths = batch_of(some)
        feats, lengths = extract(FEATURES, wavs, lengths)
        hidden, lengths = lobe(NORMALIZE(feats, lengths), lengths)
        return hidden, frame_counts(lengths, hidden.shape[1])

    together, counts = encode(waves)
    for wave, hidden, count in zip(waves, together, counts, strict=True):
        (alone,), _ = encode([wave])
        assert len(alone) == count
        assert torch.allclose(alone, hidden[:count], atol=1e-5)


def test_waveforms_stay_as_long_as_they_are():
    wavs, lengths = batch_of([torch.ones(5), torch.ones(3)])
    feats, shares = extract(Waveform(), wavs, lengths)
    assert torch.equal(feats, wavs) and torch.equal(shares, lengths)
