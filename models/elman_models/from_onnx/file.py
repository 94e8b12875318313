"""An .onnx file read as data: what is in it is checked by name before anything is made of it."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from elman_models.export.refusals import ExportError
from elman_models.from_onnx.external import read_external
from elman_models.from_onnx.graph import Array, Attribute, OnnxGraph, OnnxInput, OnnxNode
from elman_models.graph.spec import MAX_NODES
from elman_models.spec import MAX_SIZE

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

MAX_FILE_BYTES = (1 << 31) - 1
"""What a protobuf may have."""
OPSETS = range(7, 27)
"""Versions of ONNX's operators whose meaning is known here."""
_CONTROL = ("If", "Loop", "Scan", "SequenceMap")
_DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
"""By ONNX's number: of inputs and constants."""


def read_onnx(path: Path) -> "tuple[OnnxGraph, ModelProto]":
    """The graph in `path`; and the file as the protobuf that it is, with all of its tensors in it.

    Raises:
        ExportError: not an .onnx file, cut short, of another version, with control flow, operators of somebody's own,
            data in files elsewhere, or sizes that cannot be.
    """
    onnx = import_onnx()
    data = _bytes(path)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf raises a class of its own, which is not public
        raise ExportError(f"is not an .onnx file, or cut short: {type(error).__name__}") from error
    if not model.HasField("graph") or not model.graph.output:
        raise ExportError("is not an .onnx file, or cut short: it has no graph")
    if not all(isinstance(text, str) for text in _texts(model)):  # of what is not UTF-8 protobuf makes bytes
        raise ExportError("is damaged: a name in it is no text")
    opset = _opset(model)
    taken: dict[Path, int] = {}
    _check_distinct([tensor.name for tensor in model.graph.initializer])
    constants = {t.name: _array(t, f"tensor {t.name}", path.parent, taken) for t in model.graph.initializer}
    return _graph(model.graph, constants, opset), model


def _check_distinct(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ExportError(f"tensor {name}: a name used twice")
        seen.add(name)


def _texts(model: "ModelProto") -> Iterator[object]:
    """Every name."""
    graph = model.graph
    yield from (one.domain for one in model.opset_import)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (output.name for output in graph.output)
    for one in graph.input:
        yield one.name
        yield from (dim.dim_param for dim in one.type.tensor_type.shape.dim)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def import_onnx() -> ModuleType:
    """The `onnx` package.

    Raises:
        ExportError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ExportError("reading it takes onnx and onnxruntime: pip install 'elman-models[ort]'") from error
    return onnx


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if not 0 < size <= MAX_FILE_BYTES:
            raise ExportError(f"expected 1 to {MAX_FILE_BYTES} bytes, got {size}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ExportError("no such file") from error
    except OSError as error:
        raise ExportError(f"cannot be read: {error.strerror}") from error


def _opset(model: "ModelProto") -> int:
    found = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
    if len(found) != 1 or found[0] not in OPSETS:
        expected = f"expected one of {OPSETS.start} to {OPSETS.stop - 1}"
        raise ExportError(f"version of ONNX's operators (opset): {expected}, got {found or 'none'}")
    return int(found[0])


def _graph(graph: "GraphProto", constants: dict[str, Array], opset: int) -> OnnxGraph:
    if len(graph.node) > MAX_NODES:
        raise ExportError(f"expected at most {MAX_NODES} nodes, got {len(graph.node)}")
    if graph.sparse_initializer:
        raise ExportError("sparse tensors are not known")
    inputs = tuple(_input(one) for one in graph.input if one.name not in constants)
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1:
            constants[node.output[0]] = _constant(node)
        else:
            nodes.append(_node(node, opset))
    found = OnnxGraph(inputs, tuple(nodes), constants, tuple(one.name for one in graph.output))
    _check_names(found)
    return found


def _check_names(graph: OnnxGraph) -> None:
    """Each value is made once, before it is used."""
    known = {*graph.constants, *(one.name for one in graph.inputs)}
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in known:
                raise ExportError(f"{node}: its input {name} is made by nothing before it")
        for name in filter(None, node.outputs):
            if name in known:
                raise ExportError(f"{node}: its output {name} is there already")
            known.add(name)
    for name in graph.outputs:
        if name not in known:
            raise ExportError(f"output {name}: is made by nothing")


def _input(one: "ValueInfoProto") -> OnnxInput:
    where = f"input {one.name}"
    if not one.type.HasField("tensor_type") or not one.type.tensor_type.HasField("shape"):
        raise ExportError(f"{where}: expected a tensor whose number of axes is known")
    given = one.type.tensor_type
    if given.elem_type not in _DTYPES or given.elem_type == 9:
        raise ExportError(f"{where}: expected float or int64 numbers, got ONNX's type {given.elem_type}")
    shape: list[int | str] = []
    for axis, dim in enumerate(given.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            _check_size(dim.dim_value, where)
            shape.append(dim.dim_value)
        else:
            shape.append(dim.dim_param or f"{one.name} {axis}")
    return OnnxInput(one.name, np.dtype(_DTYPES[given.elem_type]), tuple(shape))


def _check_size(size: int, where: str) -> None:
    if not 0 <= size <= MAX_SIZE:
        raise ExportError(f"{where}: expected sizes up to {MAX_SIZE}, got {size}")


def _node(node: "NodeProto", opset: int) -> OnnxNode:
    bare = OnnxNode(node.name, node.op_type, tuple(node.input), tuple(node.output), {}, opset)
    if not any(node.output):
        raise ExportError(f"node {node.name} ({node.op_type}): has no output")
    if node.domain not in ("", "ai.onnx"):
        raise ExportError(f"{bare}: an operator of {node.domain}, not of ONNX itself")
    if node.op_type in _CONTROL or any(a.HasField("g") or a.graphs for a in node.attribute):
        raise ExportError(f"{bare}: control flow; a bundle is a graph without branches and loops")
    attributes = {a.name: _attribute(a, f"{bare}: {a.name}") for a in node.attribute}
    return OnnxNode(node.name, node.op_type, tuple(node.input), tuple(node.output), attributes, opset)


def _attribute(given: "AttributeProto", where: str) -> Attribute:
    kinds: dict[int, Attribute] = {1: given.f, 2: given.i, 6: tuple(given.floats), 7: tuple(given.ints)}
    if given.type in kinds:
        return kinds[given.type]
    if given.type == 3:
        return given.s.decode("utf-8", "replace")
    if given.type == 8:
        return tuple(part.decode("utf-8", "replace") for part in given.strings)
    if given.type == 4:
        return _array(given.t, where)
    raise ExportError(f"{where}: expected numbers, text or a tensor, got ONNX's kind {given.type}")


def _constant(node: "NodeProto") -> Array:
    where = f"node {node.name or node.output[0]} (Constant)"
    given = {a.name: _attribute(a, where) for a in node.attribute}
    if len(given) == 1:
        (name, value), *_ = given.items()
        if isinstance(value, np.ndarray):
            return value
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
    raise ExportError(f"{where}: expected one tensor or numbers, got {', '.join(given) or 'nothing'}")


def _array(
    tensor: "TensorProto", where: str, folder: Path | None = None, taken: dict[Path, int] | None = None
) -> Array:
    """[*dims] float32, int64 or bool."""
    from onnx import numpy_helper

    if tensor.data_type not in _DTYPES:
        raise ExportError(f"{where}: expected floats, ints or bools, got ONNX's type {tensor.data_type}")
    for size in tensor.dims:
        _check_size(size, where)
    dtype = np.dtype(_DTYPES[tensor.data_type])
    if tensor.data_location == tensor.EXTERNAL or tensor.external_data:
        if folder is None or taken is None:
            raise ExportError(f"{where}: its data is in another file; expected that of initializers alone")
        tensor.raw_data = read_external(tensor, folder, where, taken)
        tensor.data_location = tensor.DEFAULT
        del tensor.external_data[:]
    expected, got = math.prod(tensor.dims), _number_of(tensor, dtype)
    if expected != got:
        raise ExportError(f"{where}: expected {expected} numbers of {list(tensor.dims)}, got {got}")
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # whatever a damaged tensor makes it raise
        raise ExportError(f"{where}: cannot be read: {error}") from error
    wanted = np.float32 if dtype.kind == "f" else np.int64 if dtype.kind == "i" else np.bool_
    return np.ascontiguousarray(array, wanted).reshape(array.shape)


def _number_of(tensor: "TensorProto", dtype: np.dtype[np.generic]) -> int:
    """Numbers that are there, in whichever field."""
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data) // dtype.itemsize if len(tensor.raw_data) % dtype.itemsize == 0 else -1
    fields: Iterator[Sequence[object]] = iter(
        (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data)
    )
    return max(len(part) for part in fields)
