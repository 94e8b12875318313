"""Many to one: a sequence in, one answer after its last step. Here: the rows of handwritten digits.

With `make serve` running, from the repository's root: python -m examples.many_to_one
"""

import sys

import elman
from models.bundles.digits.data import split

SHADES = " .:-=+*#%@"


def main(address: str = "localhost:8470") -> float:
    """Reads all images that the model has not learned from; the share that it reads right."""
    _, held_out = split()
    with elman.Client(address) as client:
        model = client.model("digits")
        with model.session() as session:
            image = held_out.rows[0]  # [8, 8]
            probabilities = session.step(image)  # [10]: the model gives the last step's output alone
        answers, _ = model.infer(held_out.rows.swapaxes(0, 1))  # [8, K, 8] -> [K, 10]
        card = model.info.metadata["held_out_accuracy"]
    for row in image:
        print("  " + "".join(SHADES[int(pixel / 16 * 9)] * 2 for pixel in row))
    print(f"  is a {probabilities.argmax()}, with probability {probabilities.max():.3f}")
    accuracy = float((answers.argmax(-1) == held_out.digits).mean())
    print(f"  {accuracy:.4f} of {len(answers)} held-out images are read right; the model card says {card}")
    return accuracy


if __name__ == "__main__":
    main(*sys.argv[1:])
