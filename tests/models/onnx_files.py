"""Files of ONNX made by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Shape = Sequence[int | str]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
X: Mapping[str, Shape] = {"x": ("T", "B", 4)}


def graph(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    *,
    inputs: Mapping[str, Shape] | None = None,
    ids: Sequence[str] = (),
    places: Sequence[str] = (),
    constants: Mapping[str, object] | None = None,
    opset: int = 20,
) -> onnx.ModelProto:
    """A model; inputs are floats, or int64 where they are among `ids`, outputs where among `places`."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    given = [
        helper.make_tensor_value_info(name, INT64 if name in ids else FLOAT, list(shape))
        for name, shape in (inputs or X).items()
    ]
    kinds = {name: helper.make_tensor_type_proto(INT64 if name in places else FLOAT, None) for name in outputs}
    made = [onnx.ValueInfoProto(name=name, type=kind) for name, kind in kinds.items()]
    for number, one in enumerate(nodes):
        if one.name in {other.name for other in nodes[:number]}:
            one.name = f"{one.name}_{number}"
    own = helper.make_graph(list(nodes), "g", given, made, tensors)
    return helper.make_model(own, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(op: str, inputs: str, outputs: str, name: str = "", **attributes: object) -> onnx.NodeProto:
    """`inputs` and `outputs` are names with blanks between them; `-`: left out."""
    apart = [[part.replace("-", "") for part in given.split()] for given in (inputs, outputs)]
    return helper.make_node(op, *apart, name=name or f"the_{op.lower()}", **attributes)


def weights(op: str, directions: int = 1, size: int = 5, given: int = 4) -> dict[str, np.ndarray]:
    """W, R and B of a recurrence."""
    generator, wide = np.random.default_rng(1), GATES[op] * size
    shapes = {"W": (directions, wide, given), "R": (directions, wide, size), "B": (directions, 2 * wide)}
    return {name: generator.uniform(-0.7, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


def save(model: onnx.ModelProto, folder: Path) -> Path:
    """As `made.onnx`."""
    path = folder / "made.onnx"
    path.write_bytes(model.SerializeToString())
    return path
