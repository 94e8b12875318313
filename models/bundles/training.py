"""What the bundles' training scripts share: a run of a fixed number of steps, its progress line and its checkpoint.

A step depends on the seed, its number and what was learned alone: a resumed run ends where one in one piece does.
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

REPORT_SECONDS = 5.0
CHECKPOINT_SECONDS = 20.0
MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Options:
    """The command line of a training script."""

    seed: int
    resume: bool
    out: Path
    """The folder that gets the bundle."""
    steps: int
    """Of the whole run; fewer than the script's own are for trying it out."""


def options_of(folder: Path, steps: int) -> Options:
    """Reads the command line, and sets up torch as the model cards have it: one thread, the seed."""
    parser = argparse.ArgumentParser(description=f"Train the {folder.name} bundle.")
    parser.add_argument("--resume", action="store_true", help="continue from checkpoint.pt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=folder, help="the folder of bundle and checkpoint; default: this one"
    )
    parser.add_argument("--steps", type=int, default=steps, help=f"of the whole run; default: {steps}")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    return Options(given.seed, given.resume, given.out, given.steps)


class Run:
    """The steps of one training run."""

    def __init__(self, options: Options, network: nn.Module, learning_rate: float, weight_decay: float = 0.01) -> None:
        self.options = options
        self.network = network
        self.learning_rate = learning_rate
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
        self.step = 0
        self.elapsed_seconds = 0.0
        self._checkpoint = options.out / "checkpoint.pt"
        if options.resume:
            self._restore()

    def random(self) -> np.random.Generator:
        """The random numbers of this step."""
        return np.random.default_rng([self.options.seed, self.step])

    def descend(self, loss: Tensor) -> float:
        """One update: the gradient's norm clipped, the learning rate along a cosine to zero at the run's end.

        Returns:
            The loss.
        """
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        done = self.step / self.options.steps
        self.optimizer.param_groups[0]["lr"] = self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
        self.optimizer.step()
        return float(loss.detach())

    def train(self, advance: Callable[[], tuple[str, float]]) -> None:
        """Calls `advance`, which makes one step and says its figure, to the run's end, with a line now and then."""
        begun = time.monotonic() - self.elapsed_seconds
        reported = saved = self.elapsed_seconds
        figures: list[float] = []
        while self.step < self.options.steps:
            name, figure = advance()
            figures.append(figure)
            self.step += 1
            self.elapsed_seconds = time.monotonic() - begun
            if self.elapsed_seconds - reported >= REPORT_SECONDS or self.step == self.options.steps:
                self._report(name, sum(figures) / len(figures))
                figures, reported = [], self.elapsed_seconds
            if self.elapsed_seconds - saved >= CHECKPOINT_SECONDS:
                self._save()
                saved = self.elapsed_seconds
        self._save()

    def _report(self, name: str, figure: float) -> None:
        left_seconds = self.elapsed_seconds / self.step * (self.options.steps - self.step)
        print(
            f"step {self.step:5d} of {self.options.steps}  {name} {figure:9.4f}"
            f"  {self.elapsed_seconds:5.0f} s gone, {left_seconds:5.0f} s left",
            flush=True,
        )

    def _save(self) -> None:
        checkpoint = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "run": [self.options.seed, self.options.steps, self.step, self.elapsed_seconds],
        }
        partial = self._checkpoint.with_suffix(".partial")
        torch.save(checkpoint, partial)
        os.replace(partial, self._checkpoint)

    def _restore(self) -> None:
        checkpoint = torch.load(self._checkpoint, weights_only=True)
        seed, steps, self.step, self.elapsed_seconds = checkpoint["run"]
        if (seed, steps) != (self.options.seed, self.options.steps):
            raise SystemExit(
                f"{self._checkpoint}: expected a run with seed {self.options.seed} and {self.options.steps} steps, "
                f"got one with seed {seed} and {steps}"
            )
        self.network.load_state_dict(checkpoint["network"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])


def publish(folder: Path, pack: Callable[[Path], object]) -> None:
    """Puts a bundle that `pack` writes to a folder into `folder`, whose other files stay."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as draft:
        pack(Path(draft) / "bundle")
        for file in ("weights.safetensors", "model.yaml"):
            (Path(draft) / "bundle" / file).chmod(0o644)
            os.replace(Path(draft) / "bundle" / file, folder / file)
    print(f"written {folder}")
