"""Many CartPoles at a time, one episode of each, their velocities hidden. Needs gymnasium, not torch."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

VISIBLE = [0, 2]
"""The cart's position and the pole's angle."""
HIDDEN = [1, 3]
"""Their velocities, which the policy does not see."""
MAX_STEPS = 500
HELD_OUT_SEED = 12_345
NUM_HELD_OUT = 500

Floats = NDArray[np.float32]
Act = Callable[[Floats], NDArray[np.int64]]
"""Positions [N, 2] -> actions [N]: 0 pushes to the left, 1 to the right."""


class Step(NamedTuple):
    """One step of all environments. Those whose episode has ended are stepped on, unlooked at."""

    velocities: Floats  # [N, 2] before it
    lives: NDArray[np.bool_]  # [N] whose episode had not ended before it
    falls: NDArray[np.bool_]  # [N] whose pole falls in it, ending the episode


def episodes(num: int, seed: int, act: Act) -> Iterator[Step]:
    """Steps `num` environments until each has ended, at most MAX_STEPS times."""
    environments = gymnasium.make_vec("CartPole-v1", num_envs=num, vectorization_mode="vector_entry_point")
    observed, _ = environments.reset(seed=seed)
    lives = np.ones(num, bool)
    for _ in range(MAX_STEPS):
        velocities = observed[:, HIDDEN].astype(np.float32)
        observed, _, fell, cut, _ = environments.step(act(observed[:, VISIBLE].astype(np.float32)))
        yield Step(velocities, lives, fell & lives)
        lives = lives & ~(fell | cut)
        if not lives.any():
            break
    environments.close()


def returns(num: int, seed: int, act: Act) -> NDArray[np.int64]:
    """[num] of each environment's episode: the steps that the pole stood, at most MAX_STEPS."""
    stood: NDArray[np.int64] = np.sum([step.lives for step in episodes(num, seed, act)], axis=0)
    return stood
