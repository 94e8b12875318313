"""A program's nodes one after another; what each gives is left to the caller."""

from collections.abc import Callable, Mapping

import torch

from elman_models.export.refusals import ExportError
from elman_models.from_pt2.operations import is_skipped
from elman_models.from_pt2.program import Program, Pt2Node, Ref

Call = Callable[[Pt2Node, dict[str, object]], object]
"""What a node gives, of its arguments by name."""


def run_program(program: Program, values: Mapping[str, object], call: Call) -> dict[str, object]:
    """All values by name, of those of the inputs and constants.

    Raises:
        ExportError: a node gives something else than the file says that it does.
    """
    known = dict(values)
    for node in program.nodes:
        if is_skipped(node):
            continue
        result = call(node, {name: _resolved(value, known) for name, value in node.arguments.items()})
        several = node.is_list or len(node.outputs) > 1
        parts = list(result) if several and isinstance(result, list | tuple) else [result]
        if len(parts) != len(node.outputs):
            raise ExportError(f"{node}: the file names {len(node.outputs)} results of it, it gives {len(parts)}")
        known |= {name: part for name, part in zip(node.outputs, parts, strict=True) if name}
    return known


def _resolved(value: object, known: Mapping[str, object]) -> object:
    if isinstance(value, Ref):
        if value.name not in known:
            raise ExportError(f"{value.name}: is used, and nothing gives it")
        return known[value.name]
    if isinstance(value, list):
        return [_resolved(part, known) for part in value]
    return value


def given_outputs(program: Program, known: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """The program's outputs, by their names.

    Raises:
        ExportError: one is a number.
    """
    found: dict[str, torch.Tensor] = {}
    for name, ref in program.outputs.items():
        value = known.get(ref.name)
        if not isinstance(value, torch.Tensor):
            raise ExportError(f"output {name}: is no tensor")
        found[name] = value
    return found
