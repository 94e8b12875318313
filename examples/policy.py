"""A recurrent policy: one pool of sessions acts for many environments. Here: CartPole, its velocities hidden.

With `make serve` running, from the repository's root: python -m examples.policy
"""

import sys

import numpy as np

import elman
from models.bundles.cartpole.episodes import HELD_OUT_SEED, NUM_HELD_OUT, Floats, returns


def main(address: str = "localhost:8470", *, num: int = NUM_HELD_OUT) -> float:
    """Plays an episode in each of `num` environments, one frame a step; the mean return."""
    with elman.Client(address) as client:
        model = client.model("cartpole")
        with model.sessions(num) as pool:

            def act(positions: Floats) -> np.ndarray:
                # The critic is not asked, and so not computed.
                return np.asarray(pool.step(positions, outputs=["action"])["action"].argmax(-1))

            reached = returns(num, HELD_OUT_SEED, act)
        card = model.info.metadata["mean_return"]
    print(f"  {num} episodes: {reached.mean():.1f} steps on average, {reached.min()} at least, of at most 500")
    print(f"  the model card says {card} on average over {NUM_HELD_OUT} episodes")
    return float(reached.mean())


if __name__ == "__main__":
    main(*sys.argv[1:])
