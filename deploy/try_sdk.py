"""One session over the network against the same model in this process: `try_sdk.py HOST:PORT BUNDLE`."""

import sys

import numpy as np
import torch

import elman
import elman_models

TEXT = b"def step(self, input):\n    return"
CHUNKS = (1, 1, 5, 16, len(TEXT) - 23)
"""Steps per call; how a sequence is split must not matter."""


def expected(bundle: str, tokens: np.ndarray) -> np.ndarray:
    """The output [seq_len, output_size] of the whole sequence in one call."""
    stack = elman_models.load(bundle, torch.device("cpu"))
    lengths = np.array([len(tokens)])
    packed = elman_models.Packed(torch.from_numpy(tokens), elman_models.batch_sizes(lengths))
    return stack.step(packed, stack.initial_state(1))[0].numpy()


def served(address: str, model: str, tokens: np.ndarray) -> np.ndarray:
    """The same from the server, chunk by chunk in one session."""
    with elman.Client(address) as client, client.model(model).session() as session:
        chunks = np.split(tokens, np.cumsum(CHUNKS)[:-1])
        return np.concatenate([np.asarray(session.step(chunk)) for chunk in chunks])


def main() -> int:
    """0 if they agree within 1e-5 x max(1, |y|)."""
    address, bundle = sys.argv[1:]
    tokens = np.frombuffer(TEXT, np.uint8).astype(np.int64)
    want = expected(bundle, tokens)
    got = served(address, elman_models.read_spec(bundle).name, tokens)
    if got.shape != want.shape:
        print(f"expected {want.shape}, got {got.shape}")
        return 1
    error = float(np.max(np.abs(got - want) / np.maximum(1, np.abs(want))))
    print(f"         {len(tokens)} steps in {len(CHUNKS)} chunks through the SDK: off by {error:.1e} at most")
    return int(not error <= 1e-5)


if __name__ == "__main__":
    sys.exit(main())
