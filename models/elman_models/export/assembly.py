"""From what was read to a spec: outputs by name, states with what comes next, nothing that nobody needs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import ValidationError
from torch.fx import Node as FxNode

from elman_models.export.broadcasting import without_units
from elman_models.export.capture import Capture
from elman_models.export.inputs import ModuleInput
from elman_models.export.refusals import ExportError, NeedsWhole, Place
from elman_models.export.traced import DYNAMIC, Role, Traced
from elman_models.export.translation import NeedsCells, Translation
from elman_models.graph.spec import GraphSpec, Kind, Node, OutputSpec, StateSpec
from elman_models.graph.value import DType, Per


@dataclass(frozen=True)
class ModuleOutput:
    """One tensor that the module gives, and the graph has as an output."""

    name: str
    index: int
    """Which of all that it gives."""
    traced: Traced


@dataclass(frozen=True)
class Assembled:
    """A graph with its weights, and how the module's tensors go with it."""

    spec: GraphSpec
    weights: dict[str, torch.Tensor]
    inputs: tuple[ModuleInput, ...]
    outputs: tuple[ModuleOutput, ...]
    state_inputs: Mapping[str, str]
    """Of arguments that are a stack's initial state: which state."""
    state_outputs: tuple[str, ...]
    """What the module gives besides and a session has as its state: `h_n of lstm`."""
    origins: Mapping[str, str]


def assemble(
    translation: Translation,
    capture: Capture,
    named: Sequence[tuple[str, int]],
    next_states: Mapping[str, int],
    initial: Mapping[str, torch.Tensor],
    words: Mapping[str, object],
) -> Assembled:
    """The graph whose outputs are the module's of those indices.

    Args:
        translation: what was read.
        capture: of what.
        named: outputs by name, and which of what the module gives.
        next_states: of a step graph: which of what the module gives is a state's next value.
        initial: of a step graph: what states begin with, without the batch's axis.
        words: name, version, description, metadata.

    Raises:
        ExportError: an output that no graph can have.
    """
    builder = translation.builder
    outputs, ends = _outputs(translation, capture, named, is_step=bool(next_states))
    states = _states(translation, capture, next_states, initial)
    nodes, used = _needed(builder.nodes, states, [output.traced.reference for output in outputs])
    states = [state for state in states if state.name in used or state.next]
    spec = _spec(translation, states, nodes, outputs, used, words)
    weights = {name: builder.tensors[name] for name in spec.parameter_shapes()}
    inputs = tuple(translation.inputs.all)
    return Assembled(spec, weights, inputs, outputs, translation.state_inputs, ends, builder.origins)


def _outputs(
    translation: Translation, capture: Capture, named: Sequence[tuple[str, int]], *, is_step: bool
) -> tuple[tuple[ModuleOutput, ...], tuple[str, ...]]:
    """What the graph gives; in words, what the module gives besides and a session has as its state."""
    outputs, ends = [], []
    for name, index in named:
        given = _output(translation, name, capture.outputs[index], is_step=is_step)
        if isinstance(given, str):
            ends.append(given)
        else:
            outputs.append(ModuleOutput(name, index, given))
    if len(named) > 1 and len(outputs) == 1 and outputs[0].name == "output_0":
        outputs = [replace(outputs[0], name="output")]
    if not outputs:
        raise ExportError("the module gives nothing but its state: no output is left")
    return tuple(outputs), tuple(ends)


def _states(
    translation: Translation, capture: Capture, next_states: Mapping[str, int], initial: Mapping[str, torch.Tensor]
) -> list[StateSpec]:
    """Those of the nodes, and those of a step with what comes next, each with what it begins with."""
    states = [*translation.builder.states]
    for name, index in next_states.items():
        states = _with_next(translation, states, name, capture.outputs[index])
    return [_begun(translation.builder.tensors, state, initial) for state in states]


def _spec(
    translation: Translation,
    states: Sequence[StateSpec],
    nodes: Sequence[Node],
    outputs: Sequence[ModuleOutput],
    used: Collection[str],
    words: Mapping[str, object],
) -> GraphSpec:
    given = [one for one in translation.inputs.all if one.kind in ("state", "initial") or one.name in used]
    is_step = any(state.next for state in states)
    try:
        return GraphSpec(
            **words,
            kind=Kind.WHOLE if translation.builder.is_whole else Kind.STEP if is_step else Kind.STREAMING,
            inputs=tuple(one.spec for one in given if one.kind == "input"),
            context=tuple(one.spec for one in given if one.kind == "context"),
            states=tuple(states),
            nodes=tuple(nodes),
            outputs=tuple(_output_spec(output) for output in outputs),
        )
    except ValidationError as error:
        raise ExportError("\n".join(str(e["msg"]).removeprefix("Value error, ") for e in error.errors())) from error


def _output_spec(output: ModuleOutput) -> OutputSpec:
    return OutputSpec(name=output.name, value=output.traced.reference, last_only=output.traced.last_only)


def _output(translation: Translation, name: str, leaf: object, *, is_step: bool) -> Traced | str:
    """A value; in words, what a session has as its state."""
    given = translation.known(leaf) if isinstance(leaf, FxNode) else None
    if not isinstance(given, Traced):
        raise ExportError(
            f"output {name}: is nothing that a graph can give: weights of attention, say, or which step was the "
            "greatest. Instead: return it in training alone"
        )
    if given.end_of and not is_step:
        return f"{given.end_of} of {given.reference}" if given.end_of != "h_0" else given.reference
    if given.end_of:
        if given.end_of != "h_n" or given.features[0] != 1:
            raise NeedsCells
        given = replace(translation.stack_outputs[given.reference], roles=(Role.UNIT, *given.roles[1:]))
    if not given.is_settled:
        raise ExportError(f"output {name}: has more steps than the input; take away what a padded convolution added")
    builder = translation.builder
    if given.constant is not None or given.value.per is Per.MODEL:
        given = _repeated(translation, name, given)
    if given.dtype is DType.BOOL:
        given = builder.emit("cast", [given], given.roles, {"dtype": "int64"})
    if given.value.per is Per.ROW and given.has_time:
        given = builder.each_step(given)
    if Role.BATCH not in given.roles and translation.sequences.batch is not None and not given.has_time:
        raise ExportError(f"output {name}: has no axis for the batch")
    return given


def _repeated(translation: Translation, name: str, given: Traced) -> Traced:
    """A constant that was expanded to all rows, a learned deviation say: given to every step."""
    if not DYNAMIC.intersection(given.roles):
        raise ExportError(
            f"output {name}: is the same whatever the input is. Instead: read it off the module; or expand it as "
            "another output is, std.expand_as(mean)"
        )
    last_only = not given.has_time and translation.sequences.time is not None
    return replace(translation.builder.each_step(translation.builder.materialised(given)), last_only=last_only)


def _with_next(translation: Translation, states: list[StateSpec], name: str, leaf: object) -> list[StateSpec]:
    given = translation.known(leaf) if isinstance(leaf, FxNode) else None
    own = next(one.traced for one in translation.inputs.all if one.name == name)
    if not isinstance(given, Traced):
        raise ExportError(f"state {name}: the module gives no tensor as its next value")
    if own.end_of:
        carried = [node for node in translation.builder.nodes if name in node.states.values()]
        if not given.end_of or [node.name for node in carried] != [given.reference]:
            raise NeedsCells
        return states
    if given.end_of:
        raise NeedsCells
    if given.constant is not None:
        raise ExportError(f"state {name}: its next value is the same whatever the input is")
    axes = [axis for axis, role in enumerate(given.roles) if role not in DYNAMIC]
    given = without_units(_NoCall(translation), given, axes)  # type: ignore[arg-type]
    return [*states, StateSpec(name=name, features=own.features, dtype=_plain(own.dtype), next=given.reference)]


def _plain(dtype: DType) -> DType:
    return DType.FLOAT32 if dtype is DType.FLOAT32 else DType.INT64


class _NoCall:
    """What reshapes need of a call, after the last one."""

    def __init__(self, translation: Translation) -> None:
        self._builder = translation.builder

    def emit(self, op: str, inputs: list[Traced], roles: tuple[Role, ...], parameters: Mapping[str, object]) -> Traced:
        return self._builder.emit(op, inputs, roles, parameters)  # type: ignore[arg-type]


def _begun(tensors: dict[str, torch.Tensor], state: StateSpec, initial: Mapping[str, torch.Tensor]) -> StateSpec:
    given = initial.get(state.name)
    if given is None or not bool(given.any()):
        return state
    if tuple(given.shape) != state.shape:
        raise ExportError(
            f"initial {state.name}: expected {list(state.shape)}, without the batch, got {list(given.shape)}"
        )
    tensors[f"{state.name}_0"] = given
    return state.model_copy(update={"initial": f"{state.name}_0"})


def _needed(nodes: Sequence[Node], states: Sequence[StateSpec], ends: Sequence[str]) -> tuple[list[Node], set[str]]:
    """The nodes that some output or state needs, and the names of all that is used."""
    used = {reference.partition(":")[0] for reference in (*ends, *(s.next for s in states if s.next))}
    for node in reversed(nodes):
        if node.name in used:
            used |= {reference.partition(":")[0] for reference in node.inputs} | set(node.states.values())
    return [node for node in nodes if node.name in used], used


__all__ = ["Assembled", "ModuleOutput", "NeedsWhole", "Place", "assemble"]
