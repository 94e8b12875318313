"""An ONNX graph as a module: torch's own functions in the file's order, chosen by the operators' names."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from elman_models.export.refusals import ExportError
from elman_models.from_onnx.call import OnnxCall
from elman_models.from_onnx.graph import Array, OnnxGraph, OnnxNode
from elman_models.from_onnx.operators import OPERATORS
from elman_models.from_onnx.recurrent import RECURRENCES, RecurrentNode
from elman_models.from_onnx.sizes import MAX_SIZES, MAX_TOTAL, Operand, Sizes, Turned, check_numel


def plain_name(name: str, taken: Mapping[str, object]) -> str:
    """`name` as an attribute of a module can be called, and nothing else in `taken` is."""
    base = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:100] or "node"
    found, number = base, 1
    while found in taken or hasattr(nn.Module, found):
        found, number = f"{base}_{number}", number + 1
    return found


class PlainNode(nn.Module):
    """Any operator but a recurrence."""

    def __init__(self, node: OnnxNode, constants: Mapping[str, Array]) -> None:
        super().__init__()
        self._node = node
        self._own = {name: constants[name] for name in node.inputs if name in constants}

    def forward(self, *given: Operand) -> tuple[Operand, ...]:
        """The node's outputs, of those that are left out None."""
        result = OPERATORS[self._node.op](OnnxCall(self._node, self._own, given))
        return (result,) if isinstance(result, torch.Tensor | Sizes) else tuple(result)

    def run(self, *given: Operand) -> tuple[Operand, ...]:
        """As `run_node`."""
        return run_node(self, self._node, given)


def run_node(
    module: nn.Module, node: OnnxNode, given: Sequence[Operand], turned: Turned | None = None
) -> tuple[Operand, ...]:
    """What `module` gives for a node; `turned` takes account of it.

    Raises:
        ExportError: whatever it raises; or a result that is too large, before anything of that size is there: while a
            module is exported, tensors are shapes alone.
    """
    try:
        results: tuple[Operand, ...] = module(*given)
        limit = sum(one.numel() for one in given if isinstance(one, torch.Tensor) and not _is_open(one))
        shapes = [result.shape for result in results if isinstance(result, torch.Tensor)]
        for shape in shapes:
            check_numel(shape, limit)
        if turned is not None and torch.compiler.is_exporting():
            turned.count(shapes)
    except ExportError:
        raise
    except Exception as error:  # torch raises nearly anything where shapes do not go together
        first = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise ExportError(f"{node}: {first}") from error
    return results


def _excess(result: torch.Tensor, given: Sequence[Operand]) -> int:
    """Numbers that a result has, axes that are open aside, beyond those that a node is given: weights may be turned."""
    known = sum(one.numel() for one in given if isinstance(one, torch.Tensor) and not _is_open(one))
    numel = check_numel(result.shape, known)
    return numel if _is_open(result) else max(0, numel - known)


def _is_open(given: torch.Tensor) -> bool:
    return any(not isinstance(size, int) for size in given.shape)


def as_operand(array: Array) -> torch.Tensor | Sizes:
    """A constant, as nodes are given it."""
    if array.dtype == np.int64 and array.ndim <= 1 and array.size <= MAX_SIZES:
        return Sizes(tuple(array.reshape(-1).tolist()), is_scalar=array.ndim == 0)
    return torch.from_numpy(array.copy())


class OnnxModule(nn.Module):
    """Takes the graph's inputs in their order, gives its outputs by name."""

    def __init__(self, graph: OnnxGraph) -> None:
        """Raises ExportError for an operator that is not known, or a recurrence that torch has not."""
        super().__init__()
        for names in ([one.name for one in graph.inputs], graph.outputs):
            if len({output_name(name) for name in names}) < len(names):
                raise ExportError(f"two of {', '.join(names)} have the same name in a bundle")
        self._graph = graph
        self.parts: dict[str, str] = {}
        """By a submodule's path the node, in words."""
        self._tensors: dict[str, str] = {}  # of constants, the buffer
        self._sizes: dict[str, Sizes] = {}
        used = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
        for name, array in graph.constants.items():
            if name in used:
                self._add_constant(name, array)
        self._stored = sum(array.size for array in graph.constants.values())
        self._order = [(node, self._add(node)) for node in graph.nodes]

    def _add_constant(self, name: str, array: Array) -> None:
        given = as_operand(array)
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise ExportError(f"tensor {name}: expected finite numbers, got NaN or infinity")
        if isinstance(given, Sizes):
            self._sizes[name] = given
            return
        self._tensors[name] = attribute = plain_name(name, self._buffers)
        self.register_buffer(attribute, given)

    def _add(self, node: OnnxNode) -> str:
        if node.op not in OPERATORS and node.op not in RECURRENCES:
            raise ExportError(f"{node}: an operator that is not known; known are {', '.join(_known())}")
        kind = RecurrentNode if node.op in RECURRENCES else PlainNode
        path = plain_name(node.name or node.op.lower(), {**self._modules, **self._buffers, **self.__dict__})
        self.add_module(path, kind(node, self._graph.constants))
        self.parts[path] = str(node)
        return path

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """By name; a character that a name in a bundle may not have is an underscore."""
        known: dict[str, Operand] = {one.name: inputs[output_name(one.name)] for one in self._graph.inputs}
        known |= self._sizes | {name: getattr(self, attribute) for name, attribute in self._tensors.items()}
        total, turned = 0, Turned(self._stored)
        for node, path in self._order:
            given = [known[name] if name else None for name in node.inputs]
            results = run_node(self.get_submodule(path), node, given, turned)
            known |= zip(node.outputs, results, strict=False)
            total += sum(_excess(one, given) for one in results if isinstance(one, torch.Tensor))
            if total > MAX_TOTAL:
                raise ExportError(f"{node}: with it {total} numbers for a step; expected at most {MAX_TOTAL}")
        return {output_name(name): _given(name, known.get(name)) for name in self._graph.outputs}


def _given(name: str, output: Operand) -> torch.Tensor:
    if not isinstance(output, torch.Tensor):
        raise ExportError(f"output {name}: is a shape, or a result that its node does not give here")
    return output


def output_name(name: str) -> str:
    """As a bundle can call it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".-")[:100] or "output"


def _known() -> list[str]:
    return sorted([*OPERATORS, *RECURRENCES])
