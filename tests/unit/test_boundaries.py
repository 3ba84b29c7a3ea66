"""Boundary detectors, their segmentation, their scores, alignments."""

import csv
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from speechbrain.dataio import audio_io

from speechbrain_privacy import cli
from speechbrain_privacy.dataio.alignments import (
    AlignmentError,
    inner_boundaries,
    load_alignments,
    read_alignments,
)
from speechbrain_privacy.dataio.manifest import read_manifest, write_manifest
from speechbrain_privacy.masking import store
from speechbrain_privacy.masking.boundaries import (
    METHODS,
    BoundaryDetector,
    highest_peaks,
)
from speechbrain_privacy.masking.cepstra import (
    mean_difference,
    spectral_transition,
)
from speechbrain_privacy.masking.evaluation import evaluate_detectors
from speechbrain_privacy.masking.segmentation import least_variance
from speechbrain_privacy.masking.silence import EnergyVad
from speechbrain_privacy.metrics.boundaries import (
    count_hits,
    evaluate_boundaries,
)
from tests.conftest import ROOT

TONES = (300, 1200, 500, 2500, 800, 3500, 400, 1800)
#: In units of 10 ms.
DURATIONS = (9, 14, 7, 16, 11, 8, 12, 13)
CHANGES = np.cumsum(DURATIONS)[:-1]


def beeps(frequencies, durations=DURATIONS, rate=16000):
    """Tones one after the other."""
    pieces = []
    for frequency, length in zip(frequencies, durations, strict=True):
        t = torch.arange(length * rate // 100) / rate
        pieces.append(0.3 * torch.sin(2 * np.pi * frequency * t))
    return torch.cat(pieces)


@pytest.mark.parametrize("method", METHODS)
def test_finds_where_tones_change(method):
    begins, counts = BoundaryDetector(method, 10.0)(beeps(TONES)[None])
    found = begins[0].nonzero().squeeze(1).numpy()
    assert counts.tolist() == [91]
    assert 7 <= len(found) <= 9
    apart = np.abs(found[:, None] - CHANGES)
    # Nothing where nothing changes, but for where the last tone ends.
    assert (apart.min(1)[:-1] <= 4).all()
    assert (apart.min(0) <= 3).sum() >= 5


@pytest.mark.parametrize("method", METHODS)
def test_a_row_is_what_it_is_alone(method):
    torch.manual_seed(0)
    short, long = torch.randn(5000), torch.randn(16000)
    detector = BoundaryDetector(method, rate=12)
    batch = torch.stack([torch.nn.functional.pad(short, (0, 11000)), long])
    # What lies in padding is nothing.
    batch[0, 5000:] = 9.0
    begins, counts = detector(batch, torch.tensor([5000 / 16000, 1.0]))
    for row, wav in zip(range(2), (short, long), strict=True):
        alone, n = detector(wav[None])
        assert counts[row] == n[0]
        assert torch.equal(begins[row, : n[0]], alone[0])
    assert not begins[0, counts[0] :].any()
    assert not begins[:, 0].any()


@pytest.mark.parametrize("method", METHODS)
def test_loudness_says_nothing(method):
    wav = beeps(TONES)[None] + 0.01 * torch.randn(1, 14400)
    detector = BoundaryDetector(method)
    assert torch.equal(detector(wav)[0], detector(0.01 * wav)[0])


def test_mixed_precision_finds_the_same():
    wav = beeps(TONES)[None] + 0.01 * torch.randn(1, 14400)
    detector = BoundaryDetector()
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = detector(wav)
    assert torch.equal(mixed, detector(wav)[0])


def test_half_precision_hears_the_same_speech():
    wav = torch.cat([torch.zeros(8000), 0.1 * torch.randn(8000)])[None]
    speech, _ = EnergyVad()(wav)
    assert speech.any()
    assert torch.equal(EnergyVad()(wav.half())[0], speech)


@pytest.mark.parametrize("finder", [BoundaryDetector(), EnergyVad()])
def test_lengths_in_samples_are_refused(finder):
    with pytest.raises(ValueError, match="lengths are relative"):
        finder(torch.randn(1, 16000), torch.tensor([16000.0]))


@pytest.mark.parametrize("method", METHODS)
def test_one_change_is_found_where_it_is(method):
    torch.manual_seed(0)
    low = torch.cumsum(torch.randn(8000), 0)
    wav = torch.cat([0.02 * low / low.std(), 0.02 * torch.randn(8000)])
    begins, _ = BoundaryDetector(method, rate=4)(wav[None])
    assert (begins[0].nonzero().squeeze(1) - 50).abs().min() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_no_more_boundaries_than_asked_for(method):
    torch.manual_seed(1)
    begins, _ = BoundaryDetector(method, rate=5)(torch.randn(3, 32000))
    assert (begins.sum(1) <= 10).all()
    # Noise has no phones: how many there are is a matter of rounding.
    assert (begins.sum(1) >= 8).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_samples", [1, 100, 700])
def test_short_and_silent_utterances_have_no_boundaries(method, n_samples):
    detector = BoundaryDetector(method)
    # Segments of the dynamic programming last 0.4 s at most.
    unavoidable = 2 if method == "variance" else 0
    assert detector(torch.zeros(1, 16000))[0].sum() == unavoidable
    begins, counts = detector(torch.randn(1, n_samples))
    assert begins.shape[1] == counts[0]
    assert begins.sum() <= 1


def test_settings_are_checked():
    with pytest.raises(ValueError, match="'magic'"):
        BoundaryDetector("magic")
    for rate in (0, -1, 100):
        with pytest.raises(ValueError, match="boundaries a second"):
            BoundaryDetector(rate=rate)
    with pytest.raises(ValueError, match="22050 Hz"):
        BoundaryDetector(sample_rate=22050)


def test_curves_by_hand():
    x = torch.tensor([[[0.0], [1.0], [3.0], [3.0], [7.0], [9.0]]])
    counts = torch.tensor([5])
    # At t = 2: (3 + 3 + 7) / 3 right, (0 + 0 + 1) / 3 left; the ends repeat.
    found = mean_difference(x, counts)[0]
    assert found.tolist() == pytest.approx([0, 7 / 3, 4, 13 / 3, 14 / 3, 0])
    slope = spectral_transition(x, counts)[0]
    # At t = 2: (1 * (3 - 1) + 2 * (7 - 0)) / 10.
    assert float(slope[2]) == pytest.approx(1.6**2)
    # At t = 4 the last frame repeats: (1 * (7 - 3) + 2 * (7 - 3)) / 10.
    assert float(slope[4]) == pytest.approx(1.2**2)
    assert slope[0] == slope[5] == 0


def test_peaks_are_local_and_limited():
    curve = torch.tensor([[1.0, 3, 2, 5, 5, 1], [0, 1, 0, 2, 0, 3]])
    found = highest_peaks(curve, torch.tensor([9, 2]))
    assert found.int().tolist() == [[0, 1, 0, 1, 0, 0], [0, 0, 0, 1, 0, 1]]
    assert not highest_peaks(curve, torch.tensor([0, 0])).any()


def cost_of(x, cuts):
    """Summed squared distance to the means of the segments."""
    return sum(
        float(((piece - piece.mean(0)) ** 2).sum())
        for piece in np.split(x, cuts)
    )


@settings(max_examples=25, deadline=None)
@given(
    n_frames=st.integers(4, 14),
    n_cuts=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_segmentation_is_the_cheapest(n_frames, n_cuts, seed):
    x = np.random.default_rng(seed).normal(size=(n_frames, 2))
    found = least_variance(
        torch.tensor(x, dtype=torch.float)[None],
        torch.tensor([n_frames]),
        torch.tensor([n_cuts]),
        shortest=2,
        longest=n_frames,
    )[0]
    cuts = found.nonzero().squeeze(1).tolist()
    assert len(cuts) <= n_cuts
    edges = [0, *cuts, n_frames]
    assert min(np.diff(edges)) >= 2
    # No other way with as many cuts costs less.
    for other in itertools.combinations(range(2, n_frames - 1), len(cuts)):
        if min(np.diff([0, *other, n_frames])) >= 2:
            assert cost_of(x, cuts) <= cost_of(x, other) + 1e-4


def test_segmentation_weighs_the_bonus():
    x = torch.zeros(1, 20, 1)
    x[0, 10:] = 1.0
    counts, wanted = torch.tensor([20]), torch.tensor([1])
    bonus = torch.zeros(1, 20)
    assert least_variance(x, counts, wanted, bonus)[0].nonzero().item() == 10
    bonus[0, 6] = 50.0
    assert least_variance(x, counts, wanted, bonus)[0].nonzero().item() == 6


def test_hits_are_one_to_one_and_the_edge_counts():
    hits = count_hits(np.array([0.1, 0.12]), np.array([0.11]))
    assert hits == 1
    # Greedy must not spend the only partner of the second.
    assert count_hits(np.array([0.10, 0.13]), np.array([0.115, 0.12])) == 2
    assert count_hits(np.array([0.3]), np.array([0.1 + 0.2 + 0.02])) == 1
    assert count_hits(np.array([0.3]), np.array([0.3202])) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 12), max_size=5, unique=True),
    st.lists(st.integers(0, 12), max_size=5, unique=True),
)
def test_hits_are_a_largest_matching(reference, found):
    reference, found = sorted(reference), sorted(found)
    small, large = sorted([reference, found], key=len)
    best = max(
        sum(abs(a - b) <= 2 for a, b in zip(small, chosen, strict=True))
        for chosen in itertools.permutations(large, len(small))
    )
    sides = [np.array(times) * 0.01 for times in (reference, found)]
    assert count_hits(*sides) == best


def test_scores_by_hand():
    report = evaluate_boundaries(
        {"a": [0.1, 0.3], "b": [0.5]},
        {"a": [0.11, 0.2, 0.29], "b": []},
    )
    assert report.precision == pytest.approx(2 / 3)
    assert report.recall == pytest.approx(2 / 3)
    assert report.over_segmentation == pytest.approx(0.0)
    # R = 1 - (|1/3| + |1/3| / sqrt 2) / 2
    assert report.r_value == pytest.approx(1 - (1 + 1 / 2**0.5) / 6)
    perfect = evaluate_boundaries({"a": [0.1, 0.3]}, {"a": [0.3, 0.1]})
    assert perfect.r_value == perfect.f1 == 1.0


@pytest.mark.parametrize(
    ("reference", "found", "word"),
    [
        ({"a": [0.1]}, {"b": [0.1]}, "'a'"),
        ({"a": [0.1]}, {"a": [float("nan")]}, "NaN"),
        ({"a": [0.1]}, {"a": []}, "no boundaries"),
        ({"a": []}, {"a": [0.1]}, "no boundaries"),
    ],
)
def test_scores_refuse_bad_input(reference, found, word):
    with pytest.raises(ValueError, match=word):
        evaluate_boundaries(reference, found)


HEAD = "utt_id,start,end,phone\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("utt_id,start,phone\n", "row 1.*'end' is missing"),
        (HEAD, "no segments"),
        (HEAD + "u,0.0,x,AH\n", "row 2.*'x'"),
        (HEAD + "u,0.2,0.1,AH\n", "row 2"),
        (HEAD + "u,0.0,nan,AH\n", "row 2"),
        (HEAD + "u,0.0,0.1,AH\nu,0.2,0.3,B\n", "row 3.*ends at 0.1"),
        (HEAD + "u,0.0\n", "row 2"),
    ],
)
def test_alignments_are_checked(tmp_path, text, words):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(AlignmentError, match=words):
        read_alignments(path)
    with pytest.raises(AlignmentError, match="does not exist|do not exist"):
        read_alignments(tmp_path / "none.csv")


def test_alignments_are_those_of_the_manifest(corpus):
    manifest = read_manifest(corpus / "m.csv", corpus)
    path = corpus / "a.csv"
    assert load_alignments(None, [manifest]) is None
    assert load_alignments(path, [manifest]) == read_alignments(path)
    path.write_text(HEAD + "zz,0.0,0.1,AH\n")
    with pytest.raises(AlignmentError, match="aligns no utterance of"):
        load_alignments(path, [manifest])
    # Frames or milliseconds in place of seconds.
    path.write_text(HEAD + "a0,0,90,AH\n")
    with pytest.raises(AlignmentError, match="are times in seconds"):
        load_alignments(path, [manifest])


def test_voice_activity():
    torch.manual_seed(0)
    quiet = 0.001 * torch.randn(1, 8000)
    wavs = torch.cat([quiet, torch.randn(1, 8000), quiet], dim=1)
    speech, counts = EnergyVad()(wavs)
    assert counts.tolist() == [151]
    inside = torch.zeros(151, dtype=torch.bool)
    inside[50:100] = True
    assert (speech[0] != inside).sum() <= 4
    padded = torch.nn.functional.pad(wavs, (0, 24000))
    again, n = EnergyVad()(padded, torch.tensor([0.5]))
    assert torch.equal(again[0, : n[0]], speech[0])
    assert not again[0, n[0] :].any()
    assert not EnergyVad()(torch.zeros(1, 16000))[0].any()
    with pytest.raises(ValueError, match="odd"):
        EnergyVad(smooth=4)


@pytest.fixture
def corpus(tmp_path):
    """Four speakers' beeps with alignments, and some white noise."""
    rows, lines = [], [HEAD.strip().split(",")]
    order = np.random.default_rng(0)
    for speaker in "abcd":
        for i in range(2):
            name = f"{speaker}{i}"
            durations = order.permutation(DURATIONS)
            wav = beeps(order.permutation(TONES), durations)
            wav = wav + 0.001 * torch.randn(len(wav))
            audio_io.save(str(tmp_path / f"{name}.wav"), wav[None], 16000)
            rows.append(
                {
                    "ID": name,
                    "duration": 0.9,
                    "wav": f"$data_root/{name}.wav",
                    "spk_id": speaker,
                }
            )
            edges = np.cumsum([0, *durations]) / 100
            lines += [
                (name, f"{start:.2f}", f"{end:.2f}", "x")
                for start, end in zip(edges, edges[1:], strict=False)
            ]
    write_manifest(tmp_path / "m.csv", rows)
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows(lines)
    return tmp_path


def test_detectors_on_read_speech(corpora, tmp_path, monkeypatch):
    """The README's table, of speakers for whom no rate was chosen."""
    monkeypatch.syspath_prepend(ROOT / "recipes/LibriSpeech")
    from librispeech_prepare import prepare_librispeech

    folder = corpora / "LibriSpeech"
    prepare_librispeech(folder, tmp_path, parts=["test-other"])
    found = evaluate_detectors(
        read_manifest(tmp_path / "test-other.csv", folder),
        read_alignments(corpora / "alignments/librispeech_test-other.csv"),
        rates=np.arange(7, 11.5, 0.5),
    )
    values = {row["name"]: row["report"].r_value for row in found}
    assert values["difference"] >= 0.67
    assert values["variance"] >= 0.69
    assert max(values["uniform"], values["random"]) < 0.5


def test_detectors_beat_blind_guesses(corpus):
    manifest = read_manifest(corpus / "m.csv", corpus)
    alignments = read_alignments(corpus / "a.csv")
    assert len(inner_boundaries(alignments["a0"])) == 7
    found = evaluate_detectors(manifest, alignments, rates=(1.0, 9.0))
    by_name = {row["name"]: row for row in found}
    blind = max(by_name[x]["report"].r_value for x in ("uniform", "random"))
    for method in METHODS:
        assert by_name[method]["report"].r_value > blind + 0.1
        assert by_name[method]["rates"] == [9.0, 9.0]
        assert by_name[method]["cpu_seconds"] > 0
        assert by_name[method]["n_utterances"] == 8
    assert by_name["uniform"]["cpu_seconds"] is None


def test_a_rate_is_never_chosen_on_the_speakers_it_is_scored_on(corpus):
    manifest = read_manifest(corpus / "m.csv", corpus)
    alignments = read_alignments(corpus / "a.csv")
    # Half of the speakers (a, c) is said to have two boundaries only.
    for name in ("a0", "a1", "c0", "c1"):
        alignments[name] = [(0, 0.3, "x"), (0.3, 0.6, "x"), (0.6, 0.8, "x")]
    found = evaluate_detectors(
        manifest, alignments, ["difference"], rates=(2.5, 9.0)
    )
    # Each half gets what the other would have liked.
    assert found[0]["rates"] == [9.0, 2.5]


def test_command(corpus, capsys):
    arguments = [str(corpus / "a.csv"), str(corpus / "m.csv")]
    arguments += ["--data_folder", str(corpus)]
    assert cli.main(["boundaries", *arguments, "--rate", "8", "9"]) == 0
    text = capsys.readouterr().out
    assert "R-value" in text
    assert "uniform" in text
    assert "56 boundaries of 8 utterances (0 left out" in text
    (corpus / "b.csv").write_text(HEAD + "zz,0.0,0.1,AH\n")
    arguments[0] = str(corpus / "b.csv")
    assert cli.main(["boundaries", *arguments]) == 2
    assert "none of its IDs" in capsys.readouterr().err
    (corpus / "b.csv").write_text(HEAD + "a0,0.0,100,AH\n")
    assert cli.main(["boundaries", *arguments]) == 2
    assert "'a0' ends at 100.0 s" in capsys.readouterr().err
    assert cli.main(["boundaries", *arguments, "--method", "magic"]) == 2
    assert "'magic'" in capsys.readouterr().err


def test_boundaries_are_kept_beside_the_manifest(corpus, monkeypatch):
    manifest = read_manifest(corpus / "m.csv", corpus)
    detector = BoundaryDetector(rate=9.0)
    first = store.stored_boundaries(manifest, detector)
    assert (corpus / "m.difference-9.npz").is_file()
    assert set(first) == {row["ID"] for row in manifest.rows}
    begins, _ = detector(
        store.read_utterance(manifest.rows[3]["wav"], 16000)[None]
    )
    name = manifest.rows[3]["ID"]
    assert first[name].tolist() == begins[0].nonzero().squeeze(1).tolist()

    def never(*_):
        raise AssertionError("found again")

    with monkeypatch.context() as patched:
        patched.setattr(store, "_find", never)
        again = store.stored_boundaries(manifest, detector)
        assert all(torch.equal(first[key], again[key]) for key in first)
        # Another manifest under the same name is not served from the store.
        rows = [dict(row) for row in manifest.rows][1:]
        write_manifest(corpus / "m.csv", rows)
        with pytest.raises(AssertionError, match="found again"):
            store.stored_boundaries(read_manifest(corpus / "m.csv"), detector)
    kept = corpus / "m.difference-9.npz"
    store.stored_boundaries(manifest, detector)
    whole = bytearray(kept.read_bytes())
    whole[len(whole) // 2] ^= 255
    for broken in (b"broken", b"", bytes(whole), bytes(whole[:100])):
        kept.write_bytes(broken)
        again = store.stored_boundaries(manifest, detector)
        assert all(torch.equal(first[key], again[key]) for key in first)
    # Other audio under the same names.
    wav = manifest.rows[0]["wav"]
    audio_io.save(wav, beeps(TONES[::-1], DURATIONS[::-1])[None], 16000)
    changed = store.stored_boundaries(manifest, detector)
    spent = store.StoredBoundaries(lambda: detector).spent(manifest)
    assert spent["flops"] > 0 and spent["cpu_seconds"] > 0
    name = manifest.rows[0]["ID"]
    assert changed[name].tolist() != first[name].tolist()


@pytest.mark.parametrize("shape", [(16000,), (1, 1, 16000)])
def test_waveforms_come_in_batches(shape):
    with pytest.raises(ValueError, match=r"are \[batch, samples\], not \["):
        BoundaryDetector(rate=9.0)(torch.zeros(shape))
