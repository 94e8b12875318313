"""Trains the sunspots bundle, in two minutes. From the repository's root:

python -m models.bundles.sunspots.train             # writes the bundle in this folder
python -m models.bundles.sunspots.train --resume    # after an interruption, from checkpoint.pt
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import elman_models
from models.bundles.sunspots.data import AHEAD, HELD_OUT_YEAR, month_of, monthly, rmse
from models.bundles.sunspots.network import Sunspots
from models.bundles.training import Run, options_of, publish

FOLDER = Path(__file__).parent
STEPS = 600
BATCH = 64
WINDOW = 240
"""Months that are read before a forecast is made in training."""
NOISE = 5.0
"""Added to what is read, as a standard deviation: so few months are else learned by heart."""


def loss_of(network: Sunspots, run: Run, months: NDArray[np.float32]) -> torch.Tensor:
    """The scaled squared error of random windows: one step ahead from the third year on, and running free behind."""
    random = run.random()
    begins = random.integers(len(months) - WINDOW - AHEAD, size=BATCH)
    windows = torch.from_numpy(months[begins[:, None] + np.arange(WINDOW + AHEAD)])[..., None]
    read = windows[:, :WINDOW] + NOISE * torch.from_numpy(random.normal(size=(BATCH, WINDOW, 1))).float()
    errors = (network.run_free(read, AHEAD) - windows[:, 1:]) / network.std
    return (errors[:, 24:WINDOW] ** 2).mean() + (errors[:, WINDOW:] ** 2).mean()


@torch.no_grad()
def figures_of(network: Sunspots, months: NDArray[np.float32], begin: int) -> dict[str, float]:
    """Root mean squared errors from the month `begin` on; all months before are read.

    One step ahead of every month, and free running for 24 from every month on; each beside the forecast that the last
    month stays.
    """
    ends = range(begin, len(months) - AHEAD + 1)
    read = np.stack([months[end - begin : end] for end in ends])
    free = network.run_free(torch.from_numpy(read)[..., None], AHEAD)[:, -AHEAD:, 0].numpy()
    truth = np.stack([months[end : end + AHEAD] for end in ends])
    step = network(torch.from_numpy(months)[None, :, None])["next_month"][0, begin - 1 : -1, 0].numpy()
    return {
        "one_step_rmse": rmse(step, months[begin:]),
        "naive_one_step_rmse": rmse(months[begin - 1 : -1], months[begin:]),
        "free_24_rmse": rmse(free, truth),
        "naive_24_rmse": rmse(np.repeat(read[:, -1:], AHEAD, 1), truth),
    }


def main() -> None:
    """The whole run, in the foreground."""
    options = options_of(FOLDER, STEPS)
    months, begin = monthly(), month_of(HELD_OUT_YEAR)
    known = months[:begin]
    network = Sunspots(float(known.mean()), float(known.std()))
    run = Run(options, network, learning_rate=5e-3)
    run.train(lambda: ("squared error", run.descend(loss_of(network, run, known))))
    reached = {name: f"{figure:.2f}" for name, figure in figures_of(network, months, begin).items()}
    print("held out:", reached)
    publish(options.out, lambda out: packed(network, out, reached))


def packed(network: Sunspots, out: Path, figures: dict[str, str]) -> None:
    """Writes the bundle."""
    elman_models.pack(
        network.eval(),
        (torch.rand(3, 8, 1) * 100,),
        out=out,
        name="sunspots",
        description="Monthly sunspot numbers, forecast by an LSTM",
        metadata=figures,
        quiet=True,
    )


if __name__ == "__main__":
    main()
