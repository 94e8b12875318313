"""Trains the cartpole bundle by proximal policy optimisation (Schulman et al. 2017). From the repository's root:

python -m models.bundles.cartpole.train             # writes the bundle in this folder
python -m models.bundles.cartpole.train --resume    # after an interruption, from checkpoint.pt
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import elman_models
from models.bundles.cartpole.episodes import HELD_OUT_SEED, NUM_HELD_OUT, Floats, episodes, returns
from models.bundles.cartpole.network import DISCOUNT, MAX_VALUE, Policy
from models.bundles.training import Run, options_of, publish

FOLDER = Path(__file__).parent
STEPS = 24
NUM_ENVIRONMENTS = 32
EPOCHS = 8
TRACE = 0.95
"""The lambda of generalized advantage estimation (Schulman et al. 2016)."""
CLIP = 0.2
ENTROPY = 0.005


@dataclass(frozen=True)
class Played:
    """Episodes from their beginnings, all of one length: [N, T], of which `lives` says what counts."""

    positions: Tensor  # [N, T, 2]
    velocities: Tensor  # [N, T, 2]
    actions: Tensor  # int64
    log_probabilities: Tensor
    lives: Tensor  # float32, 0 or 1
    advantages: Tensor
    targets: Tensor  # of the critic


class Player:
    """Acts by the policy and remembers what it did."""

    def __init__(self, policy: Policy, greedy: bool) -> None:
        self._policy, self._greedy = policy, greedy
        self._state: Tensor | None = None
        self.steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def act(self, positions: Floats) -> np.ndarray:
        """An action for each row; greedy, or drawn by torch's generator."""
        seen = torch.from_numpy(positions)
        output, self._state = self._policy.remember(seen[:, None], self._state)
        said = self._policy.heads(output[:, 0])
        if self._greedy:
            return said["action"].argmax(-1).numpy()
        actions = torch.multinomial(said["action"].exp(), 1)
        chosen = said["action"].gather(1, actions)[:, 0]
        self.steps.append((seen, actions[:, 0], chosen, said["value"][:, 0]))
        return actions[:, 0].numpy()


def play(policy: Policy, seed: int) -> Played:
    """One episode of each environment."""
    torch.manual_seed(seed)
    player = Player(policy, greedy=False)
    steps = zip(*episodes(NUM_ENVIRONMENTS, seed, player.act), strict=True)
    velocities, lives, falls = (torch.from_numpy(np.stack(one, 1)).float() for one in steps)
    positions, actions, log_probabilities, values = (torch.stack(one, 1) for one in zip(*player.steps, strict=True))
    advantages = advantages_of(values, lives, falls)
    targets, counted = advantages + values, advantages[lives > 0]
    scaled = (advantages - counted.mean()) / (counted.std() + 1e-6)
    return Played(positions, velocities, actions, log_probabilities, lives, scaled, targets)


def advantages_of(values: Tensor, lives: Tensor, falls: Tensor) -> Tensor:
    """By generalized advantage estimation; one point a step. What the limit cuts off is worth what the critic says."""
    advantages, following = torch.zeros_like(values), torch.zeros(len(values))
    for step in reversed(range(values.shape[1])):
        after = values[:, step + 1] if step + 1 < values.shape[1] else values[:, step]
        stands = 1 - falls[:, step]
        error = 1 + DISCOUNT * after * stands - values[:, step]
        following = (error + DISCOUNT * TRACE * stands * following) * lives[:, step]
        advantages[:, step] = following
    return advantages


def loss_of(policy: Policy, played: Played) -> Tensor:
    """The clipped objective, the squared errors of critic and speedometer, the entropy, over all steps that count."""
    output, _ = policy.remember(played.positions)
    said = policy.heads(output)
    ratio = (said["action"].gather(2, played.actions[..., None])[..., 0] - played.log_probabilities).exp()
    objective = torch.minimum(ratio * played.advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * played.advantages)
    critic = ((said["value"][..., 0] - played.targets) / MAX_VALUE) ** 2
    speed = ((policy.speedometer(output) - played.velocities) ** 2).mean(-1)
    entropy = -(said["action"].exp() * said["action"]).sum(-1)
    each = critic + speed - objective - ENTROPY * entropy
    return (each * played.lives).sum() / played.lives.sum()


def advance(run: Run, policy: Policy) -> tuple[str, float]:
    """Plays, and learns from what was played."""
    played = play(policy, 1 + run.options.seed * 1_000_003 + run.step)
    for _ in range(EPOCHS):
        run.descend(loss_of(policy, played))
    return "mean return", float(played.lives.sum(1).mean())


def main() -> None:
    """The whole run, in the foreground."""
    options = options_of(FOLDER, STEPS)
    policy = Policy()
    run = Run(options, policy, learning_rate=3e-3, weight_decay=0.0)
    run.train(lambda: advance(run, policy))
    reached = returns(NUM_HELD_OUT, HELD_OUT_SEED, Player(policy, greedy=True).act)
    print(f"held out: {reached.mean():.1f} on average, {reached.min()} at least")
    publish(options.out, lambda out: packed(policy, out, float(reached.mean())))


def packed(policy: Policy, out: Path, mean_return: float) -> None:
    """Writes the bundle."""
    elman_models.pack(
        policy.eval(),
        (torch.randn(3, 8, 2) * 0.1,),
        out=out,
        name="cartpole",
        description="A recurrent policy for CartPole with hidden velocities: actor and critic on a GRU",
        metadata={"mean_return": f"{mean_return:.1f}"},
        quiet=True,
    )


if __name__ == "__main__":
    main()
