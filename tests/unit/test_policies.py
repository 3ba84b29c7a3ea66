"""Mask policies: how much they hide, what stays together, and chance."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_privacy.masking import policies
from speechbrain_privacy.masking.grid import (
    duration_histogram,
    shuffled,
    slowed,
)
from speechbrain_privacy.masking.policies import (
    LEVELS,
    DurationMatchedSpans,
    FixedSpans,
    Segments,
)
from speechbrain_privacy.masking.silence import needed_vad
from speechbrain_privacy.nnet.choices import chosen


def boundaries(counts, share=0.2, seed=0):
    """Random segments of a batch."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand((len(counts), int(counts.max())), generator=draw) < share


POLICIES = {
    "fixed": FixedSpans(0.49, 10),
    "one frame": FixedSpans(0.49, 1),
    "segments": Segments(0.49),
    "two segments": Segments(0.49, together=2),
    "shifted": Segments(0.49, shift=(2, 10)),
    "shuffled": Segments(0.49, shuffle=True),
    "not silence": Segments(0.49, silence=0.1),
    "matched": DurationMatchedSpans([0.1, 0.2, 0.4, 0.3], 0.49),
}


def draw(policy, counts, seed=0):
    """Masks of one policy, whatever it needs."""
    return policy(
        counts,
        boundaries(counts),
        speech=boundaries(counts, 0.7, seed=1),
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("name", POLICIES)
def test_hides_exactly_as_much_as_asked(name):
    counts = torch.tensor([1500, 30, 777, 1, 2, 3])
    hidden = draw(POLICIES[name], counts)
    assert hidden.dtype == torch.bool
    assert hidden.shape == (6, 1500)
    assert hidden.sum(1).tolist() == (0.49 * counts).round().tolist()
    for row, count in zip(hidden, counts, strict=True):
        assert not row[count:].any()


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    ratio=st.floats(0.02, 0.98),
    share=st.floats(0, 1),
    together=st.integers(1, 3),
    span=st.integers(1, 70),
)
def test_any_length_any_ratio(counts, ratio, share, together, span):
    counts = torch.tensor(counts)
    wanted = (ratio * counts).round().tolist()
    begins = boundaries(counts, share)
    for policy in (
        Segments(ratio, together=together),
        FixedSpans(ratio, span),
        DurationMatchedSpans(torch.ones(span), ratio),
    ):
        assert policy(counts, begins).sum(1).tolist() == wanted


@pytest.mark.parametrize("name", POLICIES)
def test_generator_decides_alone(name):
    counts = torch.tensor([100, 60])
    first = draw(POLICIES[name], counts, seed=3)
    torch.rand(5)
    assert torch.equal(first, draw(POLICIES[name], counts, seed=3))
    assert not torch.equal(first, draw(POLICIES[name], counts, seed=4))


@pytest.mark.parametrize("name", POLICIES)
def test_rows_are_drawn_apart_and_frames_alike(name):
    counts = torch.full((1000,), 300)
    policy = POLICIES[name]
    begins = boundaries(torch.tensor([300])).expand(1000, -1)
    hidden = policy(
        counts,
        begins,
        speech=torch.ones_like(begins),
        generator=torch.Generator().manual_seed(0),
    )
    assert not torch.equal(hidden[0], hidden[1])
    # Every frame is hidden about half of the time.
    chance = hidden.float().mean(0)
    assert (chance - chance.mean()).abs().max() < 0.08


def runs(row):
    """Lengths of the runs of hidden frames."""
    edges = torch.nn.functional.pad(row.int(), (1, 1)).diff()
    return (
        (edges == -1).nonzero() - (edges == 1).nonzero()
    ).squeeze(1).tolist()  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_without_numpy_masks_are_the_same(name, monkeypatch):
    """As an accelerator draws them, from the same numbers."""
    for seed in range(20):
        counts = torch.tensor([1, 17, 50 + seed, 300])
        begins, speech = boundaries(counts), boundaries(counts, 0.5, 1)
        drawn = []
        for on_cpu in (lambda _: True, lambda _: False):
            with monkeypatch.context() as patched:
                patched.setattr(policies, "_on_cpu", on_cpu)
                draw = torch.Generator().manual_seed(seed)
                drawn.append(POLICIES[name](counts, begins, speech, draw))
        assert torch.equal(*drawn)


def test_fixed_spans_are_no_shorter():
    hidden = FixedSpans(0.4, 10)(torch.full((50,), 400))
    short = [[n for n in runs(row) if n < 10] for row in hidden]
    # Only at the ends, and where the last span was cut.
    assert max(map(len, short)) <= 3
    lengths = [n for row in hidden for n in runs(row)]
    assert 10 <= sum(lengths) / len(lengths) <= 20


def test_padding_stays_behind_frames_of_the_lowest_key(monkeypatch):
    def lowest(n_rows, n_columns, *_):
        shape = (n_rows, n_columns)
        return torch.full(shape, -LEVELS // 2, dtype=torch.int16)

    monkeypatch.setattr(policies, "_coarse_keys", lowest)
    hidden = FixedSpans(0.5, span=3)(torch.tensor([12, 4]))
    assert hidden.int().tolist() == [[1] * 6 + [0] * 6, [1] * 2 + [0] * 10]


@pytest.mark.parametrize("silence", [1.0, 0.5])
def test_more_segments_than_keys(silence):
    n_frames = LEVELS + 1000
    hidden = Segments(0.5, silence=silence)(
        torch.tensor([n_frames]),
        torch.ones((1, n_frames), dtype=torch.bool),
        speech=torch.ones((1, n_frames), dtype=torch.bool),
        generator=torch.Generator().manual_seed(0),
    )
    assert hidden.sum() == n_frames // 2
    # Whatever their number, segments are drawn with equal chances.
    assert hidden[:, -1000:].sum() == pytest.approx(500, abs=80)


def test_segments_hide_whole_but_for_one():
    counts = torch.tensor([300, 200])
    begins = boundaries(counts)
    hidden = draw(Segments(0.5), counts)
    pieces = begins.cumsum(1)
    for row in range(2):
        n = counts[row]
        shares = [
            float(hidden[row, :n][pieces[row, :n] == k].float().mean())
            for k in pieces[row, :n].unique()
        ]
        cut = [share for share in shares if 0 < share < 1]
        assert len(cut) <= 1


def test_segments_together_hide_together():
    begins = torch.ones(1, 400, dtype=torch.bool)  # every frame is a segment
    hidden = Segments(0.3, together=4)(torch.tensor([400]), begins)[0]
    lengths = runs(hidden)
    assert sum(n % 4 != 0 for n in lengths) <= 2  # cut, and at one end
    assert sum(lengths) == 120


def test_shuffled_segments_keep_their_lengths_and_lose_their_places():
    begins = torch.zeros(2, 12, dtype=torch.bool)
    begins[0, [1, 3, 6]] = True  # lengths 1, 2, 3, 6
    begins[1, [0, 2]] = True  # lengths 2, 3
    counts = torch.tensor([12, 5])
    seen = [set(), set()]
    for seed in range(200):
        moved = shuffled(begins, counts, torch.Generator().manual_seed(seed))
        for row, lengths in enumerate(([1, 2, 3, 6], [2, 3])):
            n = int(counts[row])
            ends = [*moved[row, 1:n].nonzero().flatten().add(1).tolist(), n]
            found = [b - a for a, b in zip([0, *ends], ends)]
            assert sorted(found) == lengths
            seen[row].add(tuple(found))
    assert [len(orders) for orders in seen] == [24, 2]


def test_options_are_chosen_by_name():
    with pytest.raises(ValueError, match="'segment' is none of a, segments"):
        chosen({"a": 1, "segments": 2}, "segment")


def test_shifted_segments_keep_their_lengths():
    begins = torch.zeros(1, 100, dtype=torch.bool)
    begins[0, 10::10] = True  # detectors do not mark where it all begins
    counts = torch.tensor([100])
    for seed in range(5):
        hidden = Segments(0.3, shift=(3, 3))(
            counts, begins, generator=torch.Generator().manual_seed(seed)
        )[0]
        pieces = hidden[3:93].view(9, 10).float().mean(1)
        # One may be cut: the first or last three frames are a piece's part.
        assert sum(0 < share < 1 for share in pieces.tolist()) <= 1
        plain = hidden.view(10, 10).float().mean(1)
        assert any(0 < share < 1 for share in plain.tolist())


def test_lengths_are_counts_of_frames():
    for policy in (FixedSpans(), Segments(), DurationMatchedSpans([1.0])):
        lengths = torch.tensor([1.0, 0.5])
        with pytest.raises(ValueError, match="counts of frames, whole num"):
            policy(lengths, torch.zeros(2, 9, dtype=torch.bool))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedSpans(span=4.0), "span is a whole number, 1 or more"),
        (lambda: FixedSpans(span=0), "span is a whole number, 1 or more"),
        (lambda: Segments(together=0), "together is a whole number, 1 or"),
        (lambda: Segments(shift=[1.5, 2]), "shift is a whole number, not 1.5"),
        (lambda: Segments(shift=[2, 1]), "least, most"),
        (lambda: Segments(shift=[1]), "least, most"),
        (lambda: Segments(shift=2), "least, most"),
        (lambda: FixedSpans("0.5"), "the ratio of hidden frames lies in"),
        (lambda: Segments(silence="0.5"), "silence lies in"),
    ],
)
def test_settings_that_cannot_be_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_boundaries_must_cover_the_frames():
    begins = torch.zeros(1, 40, dtype=torch.bool)
    with pytest.raises(ValueError, match="40 frames, but an utterance has 100"):
        Segments()(torch.tensor([100]), begins)


def test_silence_is_for_masks_that_listen():
    assert needed_vad(FixedSpans(0.5)) is None
    assert needed_vad(Segments(0.5, silence=0.2), 0.2, 8000) is not None
    with pytest.raises(ValueError, match=r"silence: 0\.2 .* not fixed"):
        needed_vad(FixedSpans(0.5), 0.2)


def test_silence_is_rarely_hidden():
    counts = torch.full((2000,), 40)
    begins = torch.zeros(2000, 40, dtype=torch.bool)
    begins[:, ::4] = True
    speech = torch.ones_like(begins)
    speech[:, 8:12] = False
    hidden = Segments(0.1, silence=0.1)(counts, begins, speech)
    # One of ten pieces is drawn: nine weigh 1, one weighs 0.1.
    assert float(hidden[:, 8].float().mean()) == pytest.approx(
        0.1 / 9.1, abs=0.008
    )
    with pytest.raises(ValueError, match="speech"):
        Segments(silence=0.1)(counts, begins)


def test_matched_spans_spare_silence_too():
    counts = torch.full((300,), 60)
    speech = torch.ones(300, 64, dtype=torch.bool)
    speech[:, 30:] = False
    policy = DurationMatchedSpans([0, 0, 1], 0.3, silence=0.1)
    hidden = policy(counts, speech=speech)
    assert (hidden.sum(1) == 18).all()
    assert float(hidden[:, 30:].float().mean()) < 0.2 * 0.6
    assert float(hidden[:, :30].float().mean()) > 0.5 - 0.06
    with pytest.raises(ValueError, match="speech"):
        policy(counts)


def test_durations_follow_the_histogram():
    weights = torch.tensor([0.0, 0.5, 0.0, 0.0, 0.5])
    torch.manual_seed(0)
    hidden = DurationMatchedSpans(weights, 0.02)(torch.full((4000,), 100))
    # Two frames of a hundred: one span, of 2 or cut from 5; whole rows of
    # spans of 2 and 5 begin at 0, so that frame 1 never begins one.
    assert not (hidden[:, 1] & ~hidden[:, 0]).any()
    assert (hidden[:, 2] & ~hidden[:, 1]).any()


def test_durations_are_those_of_the_batch():
    begins = torch.zeros(200, 60, dtype=torch.bool)
    begins[:, ::3] = True
    counts = torch.full((200,), 60)
    torch.manual_seed(0)
    own = DurationMatchedSpans(ratio=0.5)(counts, begins)
    torch.manual_seed(0)
    told = DurationMatchedSpans([0, 0, 1], ratio=0.5)(counts)
    assert torch.equal(own, told)
    with pytest.raises(ValueError, match="Segments needs to know where they"):
        Segments()(torch.tensor([3]), None)
    with pytest.raises(ValueError, match="durations or boundaries"):
        DurationMatchedSpans()(counts)


def test_histogram_counts_segments():
    counts = torch.tensor([6, 4])
    begins = torch.zeros(2, 6, dtype=torch.bool)
    begins[0, 2] = begins[1, 1] = begins[1, 5] = True  # the last in padding
    found = duration_histogram(begins, counts, longest=3)
    # Lengths 2, 4 (counted as 3) and 1, 3.
    assert found.tolist() == pytest.approx([0.25, 0.25, 0.5])


def test_slower_frames_take_the_nearest():
    begins = torch.zeros(1, 12, dtype=torch.bool)
    begins[0, [1, 6, 7]] = True
    assert slowed(begins, 4)[0].tolist() == [True, False, True]
    assert slowed(begins, 1).equal(begins)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedSpans(0.0),
        lambda: FixedSpans(1.0),
        lambda: FixedSpans(0.5, 0),
        lambda: Segments(0.5, together=0),
        lambda: Segments(0.5, shift=(3, 1)),
        lambda: Segments(0.5, silence=0.0),
        lambda: DurationMatchedSpans([0.0, 0.0]),
        lambda: DurationMatchedSpans([1.0, -1.0]),
        lambda: Segments(0.5)(torch.tensor([3]), None),
    ],
)
def test_settings_are_checked(make):
    with pytest.raises(ValueError):
        make()
