"""An exported module read from its first operation to its last: nodes of a graph."""

import operator
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch.fx import Node

from elman_models.export.builder import Builder
from elman_models.export.call import Call
from elman_models.export.capture import Capture
from elman_models.export.handlers import HANDLERS
from elman_models.export.handlers.attention import Scores, of_scores
from elman_models.export.handlers.creation import RANDOM
from elman_models.export.inputs import Inputs
from elman_models.export.refusals import ExportError
from elman_models.export.sequences import operation_name
from elman_models.export.sizes import size_of
from elman_models.export.traced import Role, Traced, constant
from elman_models.graph.spec import StateSpec


class NeedsCells(Exception):
    """A step graph whose module does more with a stack's state than the stack: it is read again, as cells."""


class Translation:
    """What is known of every tensor so far, and the graph as far as it is."""

    def __init__(
        self, capture: Capture, *, is_whole: bool, states: tuple[str, ...] = (), uses_cells: bool = False
    ) -> None:
        self.builder = Builder(is_whole, capture.stack_labels)
        self.capture = capture
        self.sequences = capture.sequences
        self.uses_cells = uses_cells
        self.stack_outputs: dict[str, Traced] = {}
        self.state_inputs: dict[str, str] = {}
        """Of the arguments that are a stack's initial state: which state."""
        self.is_step = bool(states)
        self.inputs = Inputs(capture, self.builder, states, uses_cells=uses_cells)
        self._known: dict[Node, object] = {
            node: constant(tensor, name.replace("/", ".")) for node, (name, tensor) in capture.constants.items()
        }
        self._known |= self.inputs.traced
        for node in capture.nodes:
            self._run(node)

    def known(self, node: Node) -> object:
        """What is known of a node: a `Traced`, several, or a size."""
        if node not in self._known:
            raise ExportError(f"the module: {node.name} comes from nothing that is known")
        return self._known[node]

    def _run(self, node: Node) -> None:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool | int | float | bool):
            self._known[node] = size_of(value) if isinstance(value, torch.SymInt) else value
        elif node.target is operator.getitem:
            whole, index = node.args[0], node.args[1]
            parts = self.known(whole) if isinstance(whole, Node) else None
            self._known[node] = parts[index] if isinstance(parts, list | tuple) else None  # type: ignore[index]
        else:
            self._known[node] = self._handled(node)

    def _handled(self, node: Node) -> object:
        name = operation_name(node)
        folded = self._folded(node, name)
        if folded is not None:
            return folded
        handler, in_place = HANDLERS.get(name), False
        if handler is None and name.endswith("_") and not name.endswith("__"):
            handler, in_place = HANDLERS.get(name[:-1]), True
        call = Call(self, node)
        if in_place:
            call.name = name[:-1]
        if any(isinstance(value, Scores) for value in call.arguments.values()):
            return of_scores(call)
        if handler is None:
            call.refuse(
                f"{name or node.target}: an operation that is not known", "say it by others, or serve what is before it"
            )
        result = handler(call)
        if isinstance(result, Traced):
            result = self._checked(call, result)
        if in_place:
            self._replaced(node, result)
        return result

    def _checked(self, call: Call, result: Traced) -> Traced:
        if len(result.roles) != len(call.shape):
            call.refuse(f"{call.name} of axes that are not understood")
        for axis, size in enumerate(call.shape):
            role = result.roles[axis]
            if (role is Role.FEATURE and result.size(axis) != size) or (role is Role.UNIT and size != 1):
                call.refuse(f"{call.name}: axis {axis} of size {size} is not understood")
        return result

    def _replaced(self, node: Node, result: object) -> None:
        """In place: what was changed is it from here on."""
        changed = node.args[0]
        if isinstance(changed, Node):
            self._known[changed] = result

    def _folded(self, node: Node, name: str) -> object:
        """Computed at once, where nothing depends on an input."""
        if (
            name.rstrip("_") in RANDOM
            or "elman_export" in str(node.target)
            or not isinstance(node.meta.get("val"), torch.Tensor | tuple | list)
        ):
            return None
        value = node.meta["val"]
        results = [value] if isinstance(value, torch.Tensor) else list(value)
        if any(not isinstance(size_of(size), int) for tensor in results for size in tensor.shape):
            return None
        try:
            arguments = [self._constant(part) for part in node.args]
            keywords = {key: self._constant(part) for key, part in node.kwargs.items()}
        except LookupError:
            return None
        with torch.no_grad():
            computed = node.target(*arguments, **keywords)  # type: ignore[operator]
        if isinstance(computed, torch.Tensor):
            return self._named(node, computed)
        return [constant(tensor) for tensor in computed]

    def _named(self, node: Node, computed: torch.Tensor) -> Traced:
        """A parameter that is only viewed or copied keeps its name."""
        sources = [self._known.get(source) for source in node.all_input_nodes]
        if len(sources) == 1 and isinstance(sources[0], Traced) and sources[0].constant is not None:
            before = sources[0].constant
            if before.shape == computed.shape and before.dtype == computed.dtype and torch.equal(before, computed):
                return sources[0]
        return constant(computed)

    def _constant(self, value: object) -> object:
        if isinstance(value, Node):
            known = self.known(value)
            if isinstance(known, Traced):
                if known.constant is None or set(known.roles) - {Role.FEATURE}:
                    raise LookupError
                return known.constant
            if not isinstance(known, int | float | bool):
                raise LookupError
            return known
        if isinstance(value, list | tuple):
            return type(value)(self._constant(part) for part in value)
        if isinstance(value, Mapping):
            return {key: self._constant(part) for key, part in value.items()}
        return value

    def add_state(self, state: StateSpec) -> None:
        """A state that a node carries."""
        self.builder.states.append(state)

    def state_of(self, call: Call, given: Traced, node: str, key: str) -> str:
        """The name of the state that an argument begins."""
        if self.is_step:
            return given.reference
        if given.reference in self.state_inputs:
            call.whole("two stacks begin with the same state")
        self.state_inputs[given.reference] = f"{node}.{key}"
        return f"{node}.{key}"

    def ended(self, call: Call, given: Traced) -> Traced:
        """What a stack ends with, or begins with, as a value."""
        if given.end_of == "h_0":
            if self.is_step:
                raise NeedsCells
            call.whole("a stack's initial state is used otherwise, too")
        if given.end_of == "h_n" and given.features[0] == 1:
            output = self.stack_outputs[given.reference]
            return replace(output, roles=(Role.UNIT, *given.roles[1:]), last_only=not self.is_step)
        if self.is_step:
            raise NeedsCells
        call.whole(f"{given.end_of} of a stack is used, which a stream has as its state alone")
        return given

    def top_layer(self, given: Traced, index: int) -> Traced | None:
        """h_n of the last layer: the output's last step."""
        if index not in (-1, given.features[0] - 1):
            return None
        output = self.stack_outputs[given.reference]
        return replace(output, roles=given.roles[1:], last_only=not self.is_step)
