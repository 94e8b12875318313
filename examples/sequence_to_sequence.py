"""Sequence to sequence: what an encoder's session has read is what a decoder's begins with. Here: dates, written out.

With `make serve` running, from the repository's root: python -m examples.sequence_to_sequence
"""

import sys

import numpy as np

import elman
from models.bundles.dates.data import ISO_CHARACTERS, ISO_LENGTH, START, held_out, to_ids


def translate(client: elman.Client, texts: list[str]) -> list[str]:
    """Each text's date as ISO 8601 has it."""
    encoder, decoder = client.model("dates-encoder"), client.model("dates-decoder")
    with encoder.sessions(len(texts)) as reading:
        state = reading.step([to_ids(text) for text in texts], returning="none", state=True).state
    tokens, written = np.full(len(texts), START), []
    with decoder.sessions(len(texts), initial_state=state) as writing:
        for _ in range(ISO_LENGTH):
            tokens = writing.step(tokens).argmax(-1)  # ids [K] -> log-probabilities [K, 11]
            written.append(tokens)
    return ["".join(ISO_CHARACTERS[token] for token in row) for row in np.stack(written, 1)]


def main(address: str = "localhost:8470", *, num: int = 500) -> float:
    """Translates dates that the model has not learned from; the share that is exactly right."""
    pairs = held_out(num)
    with elman.Client(address) as client:
        said = translate(client, [text for text, _ in pairs])
        card = client.model("dates-decoder").info.metadata["held_out_exact"]
    for (text, _), iso in zip(pairs[:6], said, strict=False):
        print(f"  {text:>36} -> {iso}")
    exact = sum(iso == right for iso, (_, right) in zip(said, pairs, strict=True)) / len(pairs)
    print(f"  {exact:.4f} of {len(pairs)} held-out dates are exactly right; the model card says {card} of all")
    return exact


if __name__ == "__main__":
    main(*sys.argv[1:])
