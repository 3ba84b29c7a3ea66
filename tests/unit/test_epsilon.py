"""What attacks prove of noise."""

import numpy as np
import pytest
import torch

from speechbrain_privacy.audit.epsilon import (
    check_epsilon,
    farthest_frames,
    proven_epsilon,
)
from speechbrain_privacy.audit.representations import Representations
from speechbrain_privacy.cli import main
from speechbrain_privacy.nnet.noise import GaussianNoise, LaplaceNoise
from speechbrain_privacy.report.epsilon import broken, format_epsilons

ONE = torch.tensor([1.0, 0.0, 0.0])
SPEAKERS = {"a": "x", "b": "x", "c": "y"}


def three_utterances():
    frames = {
        "a": np.array([[2.0, 0, 0], [0, 3.0, 0]], np.float32),
        "b": np.array([[-4.0, 0, 0]], np.float32),
        "c": np.array([[1.0, 1.0, 0]], np.float32),
    }
    return Representations.of(frames)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("epsilon", [0.5, 2.0, 6.0])
def test_laplace_keeps_its_promise_and_hardly_more(epsilon, rescale):
    mechanism = LaplaceNoise(epsilon, rescale)
    found = proven_epsilon(mechanism, ONE, -ONE, draws=60_000)
    assert 0.8 * epsilon < found <= epsilon
    assert proven_epsilon(mechanism, ONE, ONE, draws=2000) == 0.0
    # Half as far apart, half is promised.
    near = torch.tensor([0.5, 0.5, 0.0])
    assert proven_epsilon(mechanism, ONE, near, 60_000) <= epsilon / 2


def test_gauss_keeps_its_promise():
    mechanism = GaussianNoise(1.0, 1e-5)
    found = proven_epsilon(mechanism, ONE, -ONE, draws=60_000)
    assert 0.2 < found <= 1.0


def test_likelihood_ratios_are_those_of_the_densities():
    laplace, gauss = LaplaceNoise(3.0), GaussianNoise(3.0)
    seen = torch.randn(5, 3)
    other = torch.tensor([0.2, -0.5, 0.1])
    for mechanism, family, scale, times in (
        (laplace, torch.distributions.Laplace, laplace.scale, 3),
        (gauss, torch.distributions.Normal, gauss.sigma, 3**0.5),
    ):
        density = [
            family(x / x.norm(p=mechanism.norm), scale)
            .log_prob(seen / times)
            .sum(1)
            for x in (ONE, other)
        ]
        found = mechanism.log_ratio(seen, ONE, other)
        assert torch.allclose(found, density[0] - density[1], atol=1e-5)
    assert laplace.log_ratio(seen, ONE, other).abs().max() <= 3.0


def test_a_broken_promise_is_found():
    class Wrong(LaplaceNoise):
        sensitivity = 1.0  # of vectors without signs

    found = check_epsilon(
        Wrong(1.0), three_utterances(), SPEAKERS, draws=40_000
    )
    assert broken({**found, "name": "m"})
    assert "BROKEN: m promises 1" in format_epsilons([{**found, "name": "m"}])
    right = check_epsilon(
        LaplaceNoise(1.0), three_utterances(), SPEAKERS, draws=40_000
    )
    assert not broken(right)
    assert right["frames"] == pytest.approx(4 / 3)
    assert right["pairs"]["worst"]["distance"] == 2.0
    assert 0 < right["pairs"]["worst"]["proven"]
    table = format_epsilons([{**right, "name": "m"}], "csv").splitlines()
    assert table[1].startswith("m,worst,2.00,1,0.")
    assert table[1].endswith(",1")  # of one frame and a third
    gauss = check_epsilon(
        GaussianNoise(8.0, 1e-4), three_utterances(), SPEAKERS, draws=1000
    )
    table_of_gauss = format_epsilons([{**gauss, "frames": 3.0, "name": "m"}])
    assert "8, delta 0.0001" in table_of_gauss
    assert "24, delta 0.0003" in table_of_gauss
    assert "prove no more than 8.4" in "\n".join(table)


class Sometimes(LaplaceNoise):
    """Forgets the noise of a frame in a hundred."""

    def forward(self, hidden, lengths):
        out, loss = super().forward(hidden, lengths)
        bare = hidden.shape[2] * self.unit(hidden)
        forgotten = torch.rand(hidden.shape[:2]).unsqueeze(2) < 0.01
        return torch.where(forgotten, bare, out), loss


class Shared(LaplaceNoise):
    """Draws once for all channels of a frame."""

    def forward(self, hidden, lengths):
        x = self.unit(hidden)
        draw = torch.distributions.Laplace(0.0, self.scale).sample
        return x.shape[2] * (x + draw((*x.shape[:2], 1))), 0.0


class Once(LaplaceNoise):
    """Draws once, for ever."""

    def forward(self, hidden, lengths):
        torch.manual_seed(7)
        x = self.unit(hidden)
        noise = torch.distributions.Laplace(0.0, self.scale)
        return x.shape[2] * (x + noise.sample((x.shape[2],))), 0.0


@pytest.mark.parametrize("kind", [Sometimes, Shared, Once])
def test_noise_that_is_not_what_it_says_is_found(kind):
    assert proven_epsilon(kind(2.0), ONE, -ONE, draws=40_000) > 2.0


def test_the_farthest_frames_are_of_two_speakers():
    # a and b are farther apart, and one speaker's.
    first, second, distance = farthest_frames(
        three_utterances(), SPEAKERS, LaplaceNoise(1.0)
    )
    assert sorted([first.tolist(), second.tolist()]) == [
        [-4.0, 0.0, 0.0],
        [1.0, 1.0, 0.0],
    ]
    assert distance == pytest.approx(2.0)
    with pytest.raises(ValueError, match="two frames of different speakers"):
        farthest_frames(
            three_utterances(), dict.fromkeys("abc", "x"), GaussianNoise(1.0)
        )
    with pytest.raises(ValueError, match="100 draws"):
        proven_epsilon(LaplaceNoise(1.0), ONE, -ONE, draws=50)


def test_global_randomness_stays_as_it_is():
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    first = proven_epsilon(LaplaceNoise(1.0), ONE, -ONE, draws=500)
    assert torch.equal(torch.rand(2), wanted)
    assert first == proven_epsilon(LaplaceNoise(1.0), ONE, -ONE, draws=500)


def test_what_is_no_run(tmp_path, capsys):
    assert main(["epsilon", str(tmp_path)]) == 2
    assert "no run" in capsys.readouterr().err
