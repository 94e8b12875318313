"""The bundle in this folder: weights.safetensors and model.yaml, written and read."""

import os
from collections.abc import Callable
from pathlib import Path

from network import CharLM
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).resolve().parent
WEIGHTS = FOLDER / "weights.safetensors"
SPEC = FOLDER / "model.yaml"

SPEC_TEXT = """\
name: char-lm
version: "1"
description: Character LSTM trained on the Python standard library's source
cell: lstm
input_size: 64
hidden_size: 256
num_layers: 2
bias: true
bidirectional: false
proj_size: 0
embedding: {{num_embeddings: 128, embedding_dim: 64}}
head: {{out_features: 128, bias: true}}
metadata:
  tokens: ascii
  held_out_bits_per_character: "{bits_per_character:.3f}"
"""


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the path, then rename over it: a reader sees the old file or the new one, never half of one."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    partial.chmod(0o644)  # safetensors writes files that only their owner can read
    os.replace(partial, path)


def save_bundle(network: CharLM, bits_per_character: float) -> None:
    """Refresh the weights, and the spec with its held-out figure."""
    weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    text = SPEC_TEXT.format(bits_per_character=bits_per_character)
    replace_file(WEIGHTS, lambda partial: save_file(weights, partial))
    replace_file(SPEC, lambda partial: partial.write_text(text))


def load_bundle() -> CharLM:
    """The network with the bundle's weights."""
    network = CharLM()
    network.load_state_dict(load_file(WEIGHTS))
    return network
