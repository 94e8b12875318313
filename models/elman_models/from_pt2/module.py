"""A program of a .pt2 file as a module: torch's own operations in the file's order."""

from collections.abc import Mapping

import torch
from torch import nn

from elman_models.export.refusals import ExportError
from elman_models.from_onnx.module import plain_name
from elman_models.from_onnx.sizes import MAX_TOTAL, Turned
from elman_models.from_pt2.fixed_sizes import Fixed, fixed_of
from elman_models.from_pt2.open_sizes import OpenSizes
from elman_models.from_pt2.operations import count, done, excess, is_in_place, is_skipped, operation, tensors_of
from elman_models.from_pt2.patterns import Patterns, replaced
from elman_models.from_pt2.program import Program, Pt2Node
from elman_models.from_pt2.recurrent import Stack, stacks_of
from elman_models.from_pt2.running import given_outputs, run_program
from elman_models.from_pt2.stored_tensors import wider


class NodeModule(nn.Module):
    """One node."""

    def __init__(self, node: Pt2Node, stack: Stack | None) -> None:
        super().__init__()
        self._node, self._stack = node, stack

    def forward(self, given: dict[str, object], *, as_told: bool) -> object:
        """What it gives of its arguments by name; `as_told`: to the letter of the file."""
        is_exporting = torch.compiler.is_exporting()
        if self._stack is None:
            return done(self._node, given, limited=is_exporting)
        if as_told:
            return self._stack.run(given)
        if not is_exporting:
            return self._stack.run(self._stack.fitted(given))
        x, params = self._stack.sequences(given), tensors_of(given["params"])
        initial = [] if self._stack.at_zeros else tensors_of([self._stack.fitted(given)["hx"]])
        return self._stack.exported(x, initial, params)


class Pt2Module(nn.Module):
    """Takes the program's inputs by name, gives its outputs by name."""

    def __init__(self, program: Program, tensors: Mapping[str, torch.Tensor]) -> None:
        """Raises ExportError for an operation that is not known, tensors that the file lacks or has in other shapes, or
        numbers of which nothing tells whether they are the length."""
        super().__init__()
        self.program = program
        self.parts: dict[str, str] = {}
        """By a submodule's path the node, in words."""
        for node in program.nodes:
            if not is_skipped(node):
                operation(node)
        self._attributes = {value: self._add_tensor(value, name, tensors) for value, name in program.constants.items()}
        self._stored = sum(self.get_buffer(name).numel() for name in self._attributes.values())
        stacks = stacks_of(program)
        self.fixed: Fixed = fixed_of(program, stacks)
        constants = {value: getattr(self, name) for value, name in self._attributes.items()}
        self._check_constants(constants)
        self._patterns: Patterns = OpenSizes(program, constants, stacks, self.fixed).patterns()
        self._changes = any(is_in_place(node) for node in program.nodes)
        self._paths = {node.name: self._add(node, stacks.get(node.name)) for node in program.nodes}

    def _add_tensor(self, value: str, name: str, tensors: Mapping[str, torch.Tensor]) -> str:
        if name not in tensors:
            raise ExportError(f"tensor {name}: the program needs it, and the file does not have it")
        tensor, told = tensors[name], self.program.shapes.get(value)
        if told is None or told.sizes != tuple(tensor.shape):
            expected = "no shape" if told is None else list(told.sizes)
            raise ExportError(f"tensor {name}: the program says {expected}, its data is {list(tensor.shape)}")
        attribute = plain_name(name, self._buffers)
        self.register_buffer(attribute, tensor.to(wider(tensor.dtype)))
        return attribute

    def _check_constants(self, constants: Mapping[str, torch.Tensor]) -> None:
        for value, tensor in constants.items():
            word = self.fixed.could_be(float(tensor)) if tensor.numel() == 1 and value.startswith("c_") else ""
            if word:
                raise ExportError(
                    f"tensor {self.program.constants[value]}: the number {float(tensor):g} may be computed from the "
                    f"{word} that the file is for ({self.fixed.words()}). Instead: export it with another {word}"
                )

    def _add(self, node: Pt2Node, stack: Stack | None) -> str:
        path = plain_name(node.name, {**self._modules, **self._buffers, **self.__dict__})
        self.add_module(path, NodeModule(node, stack))
        self.parts[path] = str(node)
        return path

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """For sequences of any length, in batches of any size."""
        return self._run(inputs, as_told=False)

    def as_told(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """To the letter of the file, for inputs of its own sizes."""
        return self._run(inputs, as_told=True)

    def is_of_file(self, inputs: Mapping[str, torch.Tensor]) -> bool:
        """Whether they are of the sizes that the file was made with."""
        return all(tuple(inputs[name].shape) == self.program.shapes[name].sizes for name in self.program.inputs)

    def _run(self, inputs: Mapping[str, torch.Tensor], *, as_told: bool) -> dict[str, torch.Tensor]:
        values: dict[str, object] = {name: inputs[name] for name in self.program.inputs}
        values |= {value: getattr(self, attribute) for value, attribute in self._attributes.items()}
        if self._changes:
            values = {name: value.clone() for name, value in values.items() if isinstance(value, torch.Tensor)}
        sizes = {} if as_told else self._sizes(inputs)
        total, turned = 0, Turned(self._stored)

        def call(node: Pt2Node, given: dict[str, object]) -> object:
            nonlocal total
            if not as_told:
                for name, numbers in self._patterns.get(node.name, {}).items():
                    given = {**given, name: replaced(given.get(name), numbers, sizes)}
            result = self.get_submodule(self._paths[node.name])(given, as_told=as_told)
            if torch.compiler.is_exporting():
                count(node, result, turned)
                total += excess(result, list(given.values()))
                if total > MAX_TOTAL:
                    raise ExportError(f"{node}: with it {total} numbers for a step; expected at most {MAX_TOTAL}")
            return result

        return given_outputs(self.program, run_program(self.program, values, call))

    def _sizes(self, inputs: Mapping[str, torch.Tensor]) -> dict[int, object]:
        """The batch and the length of these inputs, where the file's are fixed."""
        found: dict[int, object] = {}
        for name, axes in self.fixed.axes.items():
            for axis, prime in axes.items():
                size = inputs[name].shape[axis]
                if prime in found:
                    torch._check(size == found[prime])  # type: ignore[no-untyped-call]
                found.setdefault(prime, size)
        return found
