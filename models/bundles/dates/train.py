"""Trains the bundles dates-encoder and dates-decoder, in some minutes. From the repository's root:

python -m models.bundles.dates.train             # writes both bundles, in the folders beside this one
python -m models.bundles.dates.train --resume    # after an interruption, from checkpoint.pt
"""

from pathlib import Path

import torch
from torch import Tensor, nn

import elman_models
from models.bundles.dates.data import START, held_out, pairs, split, to_ids, to_tokens
from models.bundles.dates.network import Translator
from models.bundles.training import Run, options_of, publish

FOLDER = Path(__file__).parent
STEPS = 2000
BATCH = 64
NUM_HELD_OUT = 3652


def batch_of(chosen: list[tuple[str, str]]) -> tuple[list[Tensor], Tensor, Tensor]:
    """Texts, what the decoder reads, and what it is to say."""
    texts = [torch.from_numpy(to_ids(text)) for text, _ in chosen]
    targets = torch.tensor([to_tokens(iso) for _, iso in chosen])
    begin = torch.full((len(chosen), 1), START)
    return texts, torch.cat([begin, targets[:, :-1]], 1), targets


def loss_of(network: Translator, run: Run, days: object) -> Tensor:
    """The cross-entropy of a random batch, the decoder reading what is right."""
    random = run.random()
    texts, previous, targets = batch_of(pairs(random.choice(days, BATCH), random))  # type: ignore[arg-type]
    return nn.functional.nll_loss(network(texts, previous).flatten(0, 1), targets.flatten())


def exact_share(network: Translator, chosen: list[tuple[str, str]]) -> float:
    """The share of dates of which every character is right."""
    said = network.translate([torch.from_numpy(to_ids(text)) for text, _ in chosen])
    return sum(one == iso for one, (_, iso) in zip(said, chosen, strict=True)) / len(chosen)


def main() -> None:
    """The whole run, in the foreground."""
    options = options_of(FOLDER, STEPS)
    days, _ = split()
    network = Translator()
    run = Run(options, network, learning_rate=6e-3)
    run.train(lambda: ("cross-entropy", run.descend(loss_of(network, run, days))))
    exact = exact_share(network, held_out(NUM_HELD_OUT))
    print(f"held out: {exact:.4f} of the dates are exactly right")
    packed(network, options.out, {"held_out_exact": f"{exact:.4f}"})


def packed(network: Translator, out: Path, figures: dict[str, str]) -> None:
    """Writes the bundles beside `out`."""
    parts = {
        "encoder": (network.encoder, torch.randint(128, (3, 8)), "reads a date"),
        "decoder": (network.decoder, torch.randint(START + 1, (3, 8)), "writes it as ISO 8601 has it"),
    }
    for part, (module, example, what) in parts.items():
        name = f"dates-{part}"
        publish(
            out.parent / name,
            lambda draft, name=name, module=module, example=example, what=what: elman_models.pack(  # type: ignore[misc]
                module.eval(),
                (example,),
                out=draft,
                name=name,
                description=f"The {name.removeprefix('dates-')} of a pair: {what}",
                metadata=figures,
                quiet=True,
            ),
        )


if __name__ == "__main__":
    main()
