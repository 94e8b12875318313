"""One to one: a step in, its answer out, and nothing remembered. Here: which character follows one character alone.

With `make serve` running, from the repository's root: python -m examples.one_to_one
"""

import sys

import numpy as np

import elman

BEGINNINGS = "qdi(\n"


def main(address: str = "localhost:8470") -> str:
    """Prints the likeliest character after each; those characters."""
    with elman.Client(address) as client:
        model = client.model("char-lm")
        logits, _ = model.infer(np.array([[ord(character) for character in BEGINNINGS]]))  # ids [1, K] -> [1, K, 128]
    following = "".join(chr(int(token)) for token in logits[0].argmax(-1))
    for character, next_character in zip(BEGINNINGS, following, strict=True):
        print(f"  after {character!r} comes {next_character!r}")
    return following


if __name__ == "__main__":
    main(*sys.argv[1:])
