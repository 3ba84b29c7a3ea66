"""Voices are changed where they should be, and folders of them."""

import json

import numpy as np
import pytest
import soundfile
import torch

from speechbrain_privacy.augment.files import anonymise_folder
from speechbrain_privacy.augment.mcadams import (
    McAdams,
    coloured,
    prediction,
    turned,
)
from speechbrain_privacy.augment.voices import Equalizer, Pitch, VocalTract
from speechbrain_privacy.cli import main

RATE = 16000


def vowel(pitch=100, formants=(700, 1500), seconds=1.0):
    """Pulses through resonances."""
    n = int(seconds * RATE)
    pulses = torch.zeros(1, n, dtype=torch.float64)
    pulses[0, :: RATE // pitch] = 1.0
    poly = torch.ones(1, 1, dtype=torch.float64)
    for formant in formants:
        radius = np.exp(-np.pi * 80 / RATE)
        angle = 2 * np.pi * formant / RATE
        pair = torch.tensor([1, -2 * radius * np.cos(angle), radius**2])
        product = torch.zeros(1, poly.shape[1] + 2, dtype=torch.float64)
        for k in range(3):
            product[:, k : k + poly.shape[1]] += pair[k] * poly
        poly = product
    wav = coloured(pulses, poly)
    return (0.3 * wav / wav.abs().max()).float()


def pitch_of(wav):
    x = wav[0, RATE // 4 : RATE // 4 + 4096].double()
    r = torch.fft.irfft(torch.fft.rfft(x, 8192).abs() ** 2)
    low, high = RATE // 250, RATE // 60
    return RATE / (low + int(r[low:high].argmax()))


def formants_of(wav, n=2):
    """Angles of the sharpest poles of the middle."""
    x = wav[:, RATE // 4 : RATE // 4 + 4096].double()
    x = x * torch.hann_window(x.shape[1], dtype=torch.float64)
    a = prediction(x, 12)[0].numpy()
    zeros = np.roots(a)
    zeros = zeros[(zeros.imag > 0) & (np.angle(zeros) > 0.1)]
    sharp = sorted(zeros, key=lambda z: -abs(z))[:n]
    return sorted(np.angle(z) * RATE / (2 * np.pi) for z in sharp)


def test_mcadams_of_one_changes_nothing():
    wavs = torch.randn(2, 5003)
    assert torch.allclose(McAdams(1.0)(wavs), wavs, atol=1e-5)
    assert McAdams(1.0)(torch.zeros(1, 700)).abs().max() == 0
    for n in (1, 159, 160, 161, 320):
        assert McAdams(0.8)(torch.randn(1, n)).shape == (1, n)


def test_mcadams_turns_the_formants():
    wav = vowel(formants=(700, 1500))
    assert formants_of(wav) == pytest.approx([700, 1500], rel=0.02)
    changed = McAdams(0.8)(wav)

    def expected(formant):
        angle = 2 * np.pi * formant / RATE
        return angle**0.8 * RATE / (2 * np.pi)

    assert formants_of(changed) == pytest.approx(
        [expected(700), expected(1500)], rel=0.06
    )
    assert pitch_of(changed) == pytest.approx(100, abs=2)


def test_turning_keeps_real_zeros_and_radii():
    # (1 - 0.5 z)(1 - 2 0.9 cos(1) z + 0.81 z^2)
    pair = np.array([1, -1.8 * np.cos(1.0), 0.81])
    a = torch.from_numpy(np.convolve([1, -0.5], pair)).unsqueeze(0)
    new = turned(a, torch.tensor([0.5], dtype=torch.float64))[0].numpy()
    zeros = np.roots(new)
    assert sorted(abs(zeros)) == pytest.approx([0.5, 0.9, 0.9])
    assert max(np.angle(zeros)) == pytest.approx(1.0**0.5)
    power = torch.tensor([2.0], dtype=torch.float64)
    wide = torch.tensor([[1.0, 1.6, 0.8]], dtype=torch.float64)
    # Beyond the highest frequency there is none.
    assert np.abs(np.angle(np.roots(turned(wide, power)[0]))).max() <= np.pi


def test_prediction_is_that_of_the_normal_equations():
    frames = torch.randn(3, 320, dtype=torch.float64)
    a = prediction(frames, 8)
    for frame, found in zip(frames, a, strict=True):
        r = np.correlate(frame.numpy(), frame.numpy(), "full")[319:]
        matrix = r[np.abs(np.subtract.outer(range(8), range(8)))]
        expected = -np.linalg.solve(matrix, r[1:9])
        assert found[1:].numpy() == pytest.approx(expected, rel=1e-5)


def test_the_vocal_tract_moves_formants_and_leaves_pitch():
    wav = vowel()
    assert torch.allclose(VocalTract(1.0)(wav), wav, atol=1e-4)
    changed = VocalTract(1.15)(wav)
    assert formants_of(changed) == pytest.approx([805, 1725], rel=0.06)
    assert pitch_of(changed) == pytest.approx(100, abs=2)


def test_pitch_moves_and_leaves_formants():
    wav = vowel()
    changed = Pitch(1.25)(wav)
    assert pitch_of(changed) == pytest.approx(125, abs=2.5)
    assert formants_of(changed) == pytest.approx([700, 1500], rel=0.08)
    lower = Pitch(0.8)(vowel(pitch=160))
    assert pitch_of(lower) == pytest.approx(128, abs=2.5)


def test_an_equalizer_is_smooth_and_new_for_each():
    torch.manual_seed(0)
    wavs = torch.randn(1, 4 * RATE).expand(3, -1)
    changed = Equalizer(4.0)(wavs)
    gains = []
    for before, after in zip(wavs, changed, strict=True):
        spectra = [
            torch.stft(
                x, 512, window=torch.hann_window(512), return_complex=True
            )
            .abs()
            .square()
            .mean(1)
            for x in (before, after)
        ]
        gains.append(10 * (spectra[1] / spectra[0]).log10())
    gains = torch.stack(gains)
    assert (gains.diff(dim=1).abs() < 1.0).all()
    assert float((gains[0] - gains[1]).std()) > 1
    assert float(gains.std()) < 12


@pytest.mark.parametrize(
    "change", [McAdams(0.8), VocalTract(1.15), Pitch(1.25), Equalizer()]
)
def test_timing_stays(change):
    """What is silent stays silent, and begins when it began."""
    wav = vowel(seconds=1.0)
    wav[:, : RATE // 2] = 0.0
    changed = change(wav)
    assert changed.shape == wav.shape
    energy = changed[0].square()
    before = energy[: RATE // 2 - RATE // 25].sum()
    assert float(before) < 1e-3 * float(energy.sum())
    soon = energy[RATE // 2 : RATE // 2 + RATE // 10].mean()
    assert float(soon) > 0.2 * float(energy[RATE // 2 :].mean())


def test_draws_are_for_each_waveform_and_settings_are_checked():
    torch.manual_seed(0)
    wav = vowel(seconds=0.3)
    for change in (McAdams((0.7, 0.9)), VocalTract(), Pitch()):
        first, second = change(torch.cat([wav, wav]))
        assert (first - second).abs().max() > 1e-3
    for wrong in (lambda: McAdams(0.0), lambda: McAdams((0.9, 0.8))):
        with pytest.raises(ValueError, match="between 0.5 and 2"):
            wrong()
    with pytest.raises(ValueError, match="few"):
        McAdams(sample_rate=1000)
    with pytest.raises(ValueError, match=r"between 0.5 and 2"):
        VocalTract(3.0)


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "in"
    (source / "s1").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name, subtype in (
        ("a.wav", "PCM_16"),
        ("s1/b.flac", "PCM_24"),
        ("s1/c.wav", "FLOAT"),
    ):
        shape = (3000, 2) if name == "s1/c.wav" else 3000
        soundfile.write(
            source / name, 0.2 * draw.normal(size=shape), RATE, subtype
        )
    (source / "s1/b.txt").write_text("HELLO")
    (source / "broken.wav").write_bytes(b"no audio")
    (source / "talk.m4a").write_bytes(b"speech of somebody")
    return source


def test_a_folder_is_changed_and_its_faults_are_told(folder, tmp_path, capsys):
    target = tmp_path / "out"
    arguments = [
        "anonymise",
        str(folder),
        str(target),
        "--factor",
        "0.7",
        "0.9",
    ]
    assert main(arguments) == 1  # a file could not be read
    told = capsys.readouterr()
    assert "3 of 5 audio files" in told.out
    assert "1 other files" in told.out
    assert "talk.m4a: .m4a is not read" in told.err
    assert not (target / "talk.m4a").exists()
    assert f"could not be read: {folder / 'broken.wav'}" in told.err
    made = {
        str(path.relative_to(target))
        for path in target.rglob("*")
        if path.is_file()
    }
    assert made == {
        "a.wav",
        "s1/b.flac",
        "s1/c.wav",
        "s1/b.txt",
        "anonymised.json",
    }
    for name in ("a.wav", "s1/b.flac", "s1/c.wav"):
        before, after = (
            soundfile.read(folder / name),
            soundfile.read(target / name),
        )
        assert before[0].shape == after[0].shape
        assert before[1] == after[1]
        assert np.abs(before[0] - after[0]).max() > 0.01
        assert soundfile.info(folder / name).subtype == (
            soundfile.info(target / name).subtype
        )
    both, _ = soundfile.read(target / "s1/c.wav")
    before, _ = soundfile.read(folder / "s1/c.wav")
    assert np.abs(both - before).max() > 0.01
    # Cut off, and gone on with: the same bytes, nothing made twice.
    wanted = (target / "s1/b.flac").read_bytes()
    kept = (target / "a.wav").stat().st_mtime_ns
    (target / "s1/b.flac").unlink()
    (folder / "broken.wav").unlink()
    (folder / "talk.m4a").unlink()
    assert main(arguments) == 0
    assert (target / "s1/b.flac").read_bytes() == wanted
    assert (target / "a.wav").stat().st_mtime_ns == kept
    assert json.loads((target / "anonymised.json").read_text()) == {
        "method": "mcadams",
        "factor": [0.7, 0.9],
        "seed": 0,
    }


def test_folders_that_would_be_spoilt_are_refused(folder, tmp_path, capsys):
    def fails(*arguments):
        assert main(["anonymise", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    (folder / "broken.wav").unlink()
    (folder / "talk.m4a").unlink()
    target = tmp_path / "out"
    assert main(["anonymise", str(folder), str(target), "--method=vtln"]) == 0
    assert "other settings" in fails(folder, target, "--method=pitch")
    assert "lies in" in fails(folder, folder / "out")
    assert "not a folder" in fails(tmp_path / "nowhere", target)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    assert "is not empty" in fails(folder, tmp_path / "full")
    assert "between 0.5 and 2" in fails(
        folder, tmp_path / "z", "--method=vtln", "--factor", 3
    )
    assert not (tmp_path / "z").exists()
    (folder / "a.sph").write_bytes(b"")
    assert "a.wav, as another" in fails(folder, tmp_path / "z")
    (folder / "a.sph").unlink()
    assert "one number or two" in fails(
        folder, tmp_path / "y", "--factor", 1, 2, 3
    )


def test_channels_of_a_file_get_one_voice(tmp_path):
    (tmp_path / "in").mkdir()
    one = 0.1 * np.random.default_rng(0).normal(size=(3000, 1))
    soundfile.write(tmp_path / "in/a.wav", one.repeat(2, 1), 22050, "FLOAT")
    arguments = ["anonymise", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main([*arguments, "--factor", "0.5", "0.9"]) == 0
    changed, rate = soundfile.read(tmp_path / "out/a.wav")
    assert rate == 22050
    assert np.array_equal(changed[:, 0], changed[:, 1])


def test_sphere_becomes_wav_and_loud_files_are_not_clipped(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    x = np.sin(np.arange(2000) / 9)
    soundfile.write(source / "a.sph", 0.9 * x, RATE, format="NIST")
    n_files, n_others, unread = anonymise_folder(
        source,
        tmp_path / "out",
        lambda wav, rate: 3 * wav,
        {},
        progressbar=False,
    )
    assert (n_files, n_others, unread) == (1, 0, [])
    y, _ = soundfile.read(tmp_path / "out/a.wav")
    assert np.abs(y).max() == pytest.approx(1.0, abs=1e-3)
    assert y / np.abs(y).max() == pytest.approx(x / np.abs(x).max(), abs=2e-3)
