"""Trains the anomaly bundle, in about a minute. From the repository's root:

python -m models.bundles.anomaly.train             # writes the bundle in this folder
python -m models.bundles.anomaly.train --resume    # after an interruption, from checkpoint.pt
"""

from pathlib import Path

import numpy as np
import torch

import elman_models
from models.bundles.anomaly.data import (
    HELD_OUT_SEEDS,
    SETTLING,
    Floats,
    alarms_of,
    normal,
    planted,
    precision_and_recall,
)
from models.bundles.anomaly.network import Forecaster
from models.bundles.training import Run, options_of, publish

FOLDER = Path(__file__).parent
STEPS = 800
BATCH = 32
WINDOW = 168
THRESHOLD_SEED = 500
QUANTILE = 0.9995
"""Of the errors on series without anomalies, where the threshold is: one hour in two thousand is a false alarm."""


def loss_of(network: Forecaster, run: Run, seed: int) -> torch.Tensor:
    """The scaled squared error of a new batch of series without anomalies, from the second day on."""
    series = torch.from_numpy(normal(int(run.random().integers(2**31)) + seed, BATCH, WINDOW))[..., None]
    forecasts = network(series)["next_hour"]
    return (((forecasts[:, 24:-1] - series[:, 25:]) / network.std) ** 2).mean()


@torch.no_grad()
def forecast(network: Forecaster, series: Floats) -> Floats:
    """[N, T] -> [N, T]: of the hour after each."""
    output: Floats = network(torch.from_numpy(series)[..., None])["next_hour"][..., 0].numpy()
    return output


def threshold_of(network: Forecaster) -> float:
    """What is exceeded rarely where nothing is planted."""
    series = normal(THRESHOLD_SEED, 20, 1500)
    errors = np.abs(forecast(network, series)[:, SETTLING - 1 : -1] - series[:, SETTLING:])
    return float(np.quantile(errors, QUANTILE))


def main() -> None:
    """The whole run, in the foreground."""
    options = options_of(FOLDER, STEPS)
    known = normal(options.seed, 100, 500)
    network = Forecaster(float(known.mean()), float(known.std()))
    run = Run(options, network, learning_rate=5e-3)
    run.train(lambda: ("squared error", run.descend(loss_of(network, run, options.seed))))
    threshold = round(threshold_of(network), 3)
    made = [planted(seed) for seed in HELD_OUT_SEEDS]
    forecasts = forecast(network, np.stack([series for series, _ in made]))
    found = [(alarms_of(series, forecasts[row], threshold), events) for row, (series, events) in enumerate(made)]
    precision, recall = precision_and_recall(found)
    figures = {"threshold": f"{threshold:.3f}", "precision": f"{precision:.3f}", "recall": f"{recall:.3f}"}
    print("held out:", figures)
    publish(options.out, lambda out: packed(network, out, figures))


def packed(network: Forecaster, out: Path, figures: dict[str, str]) -> None:
    """Writes the bundle."""
    elman_models.pack(
        network.eval(),
        (torch.rand(3, 8, 1) * 50,),
        out=out,
        name="anomaly",
        description="An hourly load, forecast by an LSTM: what it forecasts badly is an anomaly",
        metadata=figures,
        quiet=True,
    )


if __name__ == "__main__":
    main()
