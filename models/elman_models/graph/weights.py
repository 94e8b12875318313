"""A graph's tensors, held against its spec."""

from collections.abc import Mapping

import torch

from elman_models.errors import WeightsError
from elman_models.graph.operations.operation import Weight
from elman_models.graph.spec import GraphSpec
from elman_models.graph.value import DType
from elman_models.weights import check_names, checked


def as_tensors(spec: GraphSpec, tensors: Mapping[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
    """`tensors` in the spec's order and dtypes, once they are proven to be the spec's.

    Raises:
        WeightsError: a tensor missing or too many, of another shape or kind, or not finite as float32; or the ids that
            a state begins with are outside their range. The message begins with `where`.
    """
    wanted = spec.inferred().tensors
    check_names({name: weight.shape for name, weight in wanted.items()}, tensors, where)
    found = {name: _checked(f"{where}: {name}", tensors[name], weight) for name, weight in wanted.items()}
    for state in spec.states:
        if state.initial and state.num_embeddings:
            _check_ids(f"{where}: {state.initial}", found[state.initial], state.num_embeddings)
    return found


def _checked(label: str, tensor: torch.Tensor, weight: Weight) -> torch.Tensor:
    if weight.dtype is not DType.INT64:
        return checked(label, tensor, weight.shape)
    if tuple(tensor.shape) != weight.shape:
        raise WeightsError(f"{label}: expected shape {list(weight.shape)}, got {list(tensor.shape)}")
    if tensor.dtype is not torch.int64 or tensor.layout is not torch.strided or tensor.is_meta:
        raise WeightsError(f"{label}: expected dense int64, got {tensor.dtype}")
    return tensor.detach()


def _check_ids(label: str, ids: torch.Tensor, num_embeddings: int) -> None:
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < num_embeddings:
        raise WeightsError(f"{label}: expected ids in [0, {num_embeddings})")
