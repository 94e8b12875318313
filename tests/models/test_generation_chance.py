"""Chance that can be asked for again: against SplitMix64 in plain Python, and against the distributions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elman_models.generation.chance import normal, uniform

BELOW_2_64, BELOW_2_32 = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)


def mixed(value: int) -> int:
    """SplitMix64 of whole numbers."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


@given(seed=BELOW_2_64, count=BELOW_2_32, draw=BELOW_2_32)
def test_a_number_is_that_of_whole_numbers_in_plain_python(seed: int, count: int, draw: int) -> None:
    bits = mixed((mixed(seed) + ((count << 32) + draw) * 0x9E3779B97F4A7C15) % 2**64)
    number = float(uniform(seed, count, draw))
    assert number == (bits >> 11) / 2**53
    assert 0 <= number < 1
    assert number == float(uniform(seed, count, draw))


def test_the_numbers_of_a_seed_are_the_same_in_every_version() -> None:
    # SplitMix64 seeded with 0 gives 0xE220A8397B1DCDAF first (its authors' code).
    assert mixed(0) == 0xE220A8397B1DCDAF
    assert uniform([0, 7, 2**64 - 1], [0, 1, 2]).tolist() == [
        0.6524484863740322,
        0.5859867349545959,
        0.9267328413728889,
    ]


def test_seeds_counts_and_draws_are_broadcast_and_their_numbers_are_distinct() -> None:
    seeds, counts, draws = np.arange(40)[:, None, None], np.arange(50)[:, None], np.arange(30)
    numbers = uniform(seeds, counts, draws)
    assert numbers.shape == (40, 50, 30)
    assert len(np.unique(numbers)) == numbers.size
    assert numbers[3, 4, 5] == uniform(3, 4, 5)


def test_numbers_are_spread_evenly_along_seeds_along_counts_and_along_draws() -> None:
    many = np.arange(20000)
    for numbers in (uniform(many, 5), uniform(5, many), uniform(5, 5, many)):
        ordered = np.sort(numbers)
        # Kolmogorov and Smirnov's distance: 2.5 over the root of n is passed once in a hundred thousand times.
        assert np.abs(ordered - (np.arange(20000) + 0.5) / 20000).max() < 2.5 / np.sqrt(20000)
        assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 5 / np.sqrt(20000)
    assert abs(np.corrcoef(uniform(1, many), uniform(2, many))[0, 1]) < 5 / np.sqrt(20000)


def test_normal_numbers_have_the_moments_of_the_standard_normal_distribution() -> None:
    many = 40000
    for numbers in (normal(np.arange(many), 0), normal(3, np.arange(many)), normal(3, 0, np.arange(many))):
        assert abs(numbers.mean()) < 5 / np.sqrt(many)
        assert abs(numbers.var() - 1) < 5 * np.sqrt(2 / many)
        assert abs((numbers**4).mean() - 3) < 5 * np.sqrt(96 / many)
        assert 0.67 < (np.abs(numbers) < 1).mean() < 0.695


@given(seed=BELOW_2_64, count=BELOW_2_32, draw=st.integers(0, 2**31 - 1))
def test_a_normal_number_is_finite_and_comes_again(seed: int, count: int, draw: int) -> None:
    number = float(normal(seed, count, draw))
    assert np.isfinite(number)
    assert number == normal(np.array([seed, 1], np.uint64), np.array([count, 1]), draw)[0]
