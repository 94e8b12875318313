"""Graphs in a model folder, and one client's frames of them by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from graph_cases import graph_weights, make_network
from graph_networks import Network, Tensors

from elman import wire
from elman.v1 import inference_pb2, tensor_pb2
from elman_models import GraphSpec, write_bundle

Arrays = dict[str, np.ndarray]


def write_networks(folder: Path, kinds: Sequence[type[Network]]) -> dict[str, Network]:
    """Bundles of networks with random weights, by the name of their model."""
    networks = {}
    for kind in kinds:
        torch.manual_seed(len(networks))
        network, _ = make_network(kind)
        network.spec = kind.spec.model_copy(update={"name": kind.__name__})
        write_bundle(folder / kind.__name__, network.spec, graph_weights(network.spec, network))
        networks[kind.__name__] = network
    return networks


def named(tensors: Mapping[str, np.ndarray]) -> list[Any]:
    """Tensors as the contract names them."""
    return [tensor_pb2.NamedTensor(name=name, tensor=wire.to_tensor(array)) for name, array in tensors.items()]


def by_name(field: Any) -> Arrays:
    """What came by name."""
    return {one.name: wire.from_tensor(one.tensor) for one in field}


def outputs_of(message: Any, spec: GraphSpec) -> Arrays:
    """Those of an answer, whether there is one or several."""
    if message.HasField("output"):
        return {spec.outputs[0].name: wire.from_tensor(message.output)}
    return by_name(message.outputs)


def packed(rows: Sequence[Tensors]) -> Arrays:
    """Each input of rows, longest first, in the packed layout."""
    longest = len(next(iter(rows[0].values())))
    return {
        name: np.stack([row[name][t].numpy() for t in range(longest) for row in rows if t < len(row[name])])
        for name in rows[0]
    }


def stacked(rows: Sequence[Tensors]) -> Arrays:
    """[K, *features] of each context."""
    return {name: np.stack([row[name].numpy() for row in rows]) for name in rows[0]} if rows else {}


class GraphStepper:
    """One Step stream of one model's sessions; a frame at a time."""

    def __init__(self, call: Any, spec: GraphSpec) -> None:
        self._call = call
        self._spec = spec
        self._frame_id = 0

    async def step(self, handles: Sequence[int], rows: Sequence[Tensors], **fields: Any) -> list[Arrays]:
        """Rows longest first; what each gave: outputs [T, *features] by name, its states among them if asked for."""
        self._frame_id += 1
        request = inference_pb2.StepRequest(
            frame_id=self._frame_id,
            handles=handles,
            lengths=[len(next(iter(row.values()))) for row in rows],
            **self._inputs(rows),
            **fields,
        )
        await self._call.write(request)
        parts: list[dict[str, list[np.ndarray]]] = [{} for _ in rows]
        open_rows = len(rows)
        while open_rows:
            result = await self._call.read()
            if result.server_instance:
                continue
            assert not result.HasField("frame_error"), result.frame_error.message
            assert not result.errors, result.errors[0].status.message
            open_rows -= len(result.finished)
            self._take(result, parts)
        return [{name: np.stack(steps) for name, steps in row.items()} for row in parts]

    def _inputs(self, rows: Sequence[Tensors]) -> dict[str, Any]:
        arrays = packed(rows)
        return {"input": wire.to_tensor(next(iter(arrays.values())))} if len(arrays) == 1 else {"inputs": named(arrays)}

    def _take(self, result: Any, parts: list[dict[str, list[np.ndarray]]]) -> None:
        rows = list(result.rows) or list(range(len(parts)))
        lengths = list(result.lengths)
        for name, output in outputs_of(result, self._spec).items():
            steps = iter(output)
            for t in range(lengths[0]):
                for row, length in zip(rows, lengths, strict=True):
                    if t < length:
                        parts[row].setdefault(name, []).append(next(steps))
