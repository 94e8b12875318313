"""The bundles that the README of the package shows are read as they stand, and run."""

import re
from pathlib import Path

import numpy as np
import torch

from elman_models import GraphSpec, GraphStack, ModelSpec, PackedInputs, Stack
from elman_models.spec_file import parse_any_spec

README = Path(__file__).parents[2] / "models" / "README.md"
CPU = torch.device("cpu")


def blocks() -> list[bytes]:
    return [text.encode() for text in re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)]


def random_weights(spec: ModelSpec | GraphSpec) -> dict[str, torch.Tensor]:
    return {name: torch.rand(shape) - 0.5 for name, shape in spec.parameter_shapes().items()}


def test_the_readme_shows_a_spec_of_each_format_and_both_are_read_and_loaded() -> None:
    stack, graph = (parse_any_spec(text, "README.md") for text in blocks())
    assert isinstance(stack, ModelSpec)
    assert isinstance(graph, GraphSpec)
    assert Stack(stack, random_weights(stack), CPU).spec.name == "char-lm"
    loaded = GraphStack(graph, random_weights(graph), CPU)
    state = loaded.initial_state(2, {"item": torch.tensor([0, 8])})
    outputs, after = loaded.step(PackedInputs((torch.randn(4, 3),), np.array([2, 2])), state)
    assert outputs["forecast"].shape == (4, 1)
    assert after.layout == state.layout
