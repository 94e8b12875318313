"""What the tests of packing share: small state_dicts, as files of somebody's training hold them."""

from typing import Any

import torch
from torch import nn

from elman_models import infer_spec
from elman_models.spec import ModelSpec

StateDict = dict[str, torch.Tensor]


def zeros(**shapes: tuple[int, ...]) -> StateDict:
    """Tensors by name, `__` standing for a dot."""
    return {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


GRU = zeros(rnn__weight_ih_l0=(15, 4), rnn__weight_hh_l0=(15, 5))


def module(**children: nn.Module) -> nn.Module:
    """A module that defines `children` in that order."""
    made = nn.Module()
    for name, child in children.items():
        made.add_module(name, child)
    return made.requires_grad_(False)


def by_name(state_dict: StateDict) -> StateDict:
    """As safetensors keeps it: sorted."""
    return dict(sorted(state_dict.items()))


def infer(state_dict: StateDict, **options: Any) -> tuple[ModelSpec, StateDict]:
    """What `infer_spec` makes of it, named m."""
    return infer_spec(state_dict, name="m", version="1", **options)
