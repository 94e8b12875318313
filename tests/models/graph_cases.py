"""What the tests of graphs share: a network and its graph with the same random weights, random sequences, packing."""

from collections.abc import Sequence

import torch
from graph_networks import Network, Tensors
from recurrent_cases import CPU, pack, unpack
from torch import nn

from elman_models import GraphSpec, GraphStack, PackedInputs


def make_network(kind: type[Network]) -> tuple[Network, GraphStack]:
    """The same random weights twice."""
    network = kind().eval()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "running_var" in name else tensor.uniform_(-0.7, 0.7)
    return network.requires_grad_(False), GraphStack(network.spec, graph_weights(network.spec, network), CPU)


def graph_weights(spec: GraphSpec, module: nn.Module) -> Tensors:
    """The module's tensors that the graph has: not a batch norm's number of batches."""
    return {name: tensor for name, tensor in module.state_dict().items() if name in spec.parameter_shapes()}


def random_inputs(spec: GraphSpec, length: int) -> Tensors:
    """One sequence of every input, [length, *features]."""
    return {
        one.name: torch.randint(one.num_embeddings or 2, (length, *one.features))
        if one.dtype == "int64"
        else torch.randn(length, *one.features)
        for one in spec.inputs
    }


def random_context(spec: GraphSpec) -> Tensors:
    """One session's, [*features]."""
    return {
        one.name: torch.randint(one.num_embeddings or 2, one.features)
        if one.dtype == "int64"
        else torch.randn(one.features)
        for one in spec.context
    }


def pack_inputs(spec: GraphSpec, rows: Sequence[Tensors]) -> PackedInputs:
    """Rows of every input, longest first, as one packed batch."""
    packed = [pack([row[one.name] for row in rows]) for one in spec.inputs]
    return PackedInputs(tuple(one.data for one in packed), packed[0].batch_sizes)


def stacked(rows: Sequence[Tensors]) -> Tensors:
    """[B, *features] by name."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}


def length_of(row: Tensors) -> int:
    return len(next(iter(row.values())))


__all__ = ["CPU", "unpack"]
