"""Trains the digits bundle, in half a minute. From the repository's root:

python -m models.bundles.digits.train             # writes the bundle in this folder
python -m models.bundles.digits.train --resume    # after an interruption, from checkpoint.pt
"""

from pathlib import Path

import torch
from torch import nn

import elman_models
from models.bundles.digits.data import Split, split
from models.bundles.digits.network import Digits
from models.bundles.training import Run, options_of, publish

FOLDER = Path(__file__).parent
STEPS = 2500
BATCH = 64


def loss_of(network: Digits, run: Run, data: Split) -> torch.Tensor:
    """The cross-entropy of a random batch, each image moved by up to a pixel either way and its pixels made noisy."""
    random = run.random()
    chosen = random.integers(len(data.digits), size=BATCH)
    shifts = random.integers(-1, 2, size=2)
    rows = torch.from_numpy(data.rows[chosen]).roll(tuple(shifts), (1, 2))
    rows = (rows + torch.from_numpy(random.normal(0, 1, rows.shape)).float()).clamp(0, 16)
    return nn.functional.cross_entropy(network.logits(rows), torch.from_numpy(data.digits[chosen]))


@torch.no_grad()
def accuracy(network: Digits, data: Split) -> float:
    """The share of images that it reads right."""
    read = network(torch.from_numpy(data.rows))["digit"].argmax(-1).numpy()
    return float((read == data.digits).mean())


def main() -> None:
    """The whole run, in the foreground."""
    options = options_of(FOLDER, STEPS)
    training, held_out = split()
    network = Digits()
    run = Run(options, network, learning_rate=4e-3)

    def advance() -> tuple[str, float]:
        return "cross-entropy", run.descend(loss_of(network, run, training))

    run.train(advance)
    reached = accuracy(network, held_out)
    print(f"{accuracy(network, training):.4f} of the training images are read right, {reached:.4f} of those held out")
    publish(options.out, lambda out: packed(network, out, reached))


def packed(network: Digits, out: Path, reached: float) -> None:
    """Writes the bundle."""
    elman_models.pack(
        network.eval(),
        (torch.rand(3, 8, 8) * 16,),
        out=out,
        name="digits",
        description="Handwritten digits, read row by row by a GRU",
        metadata={"held_out_accuracy": f"{reached:.4f}"},
        quiet=True,
    )


if __name__ == "__main__":
    main()
