"""How a whole streaming graph runs: node after node, or all nodes together in onnxruntime; measured against each other,
and chosen by a table as a recurrence's plans are."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, cast

import torch

from elman_models.graph.compile import Compiler
from elman_models.graph.in_onnx.records import NotCoveredError, OnnxGraph
from elman_models.graph.in_onnx.streaming import streaming_graph
from elman_models.graph.inputs import PackedInputs
from elman_models.graph.left_out import left_out_of_graph
from elman_models.graph.spec import GraphSpec, InputSpec
from elman_models.graph.state import GraphState
from elman_models.graph.value import DType
from elman_models.plans.cache import digest, surroundings
from elman_models.plans.candidates import Candidate, has_ort
from elman_models.plans.factory import PlanFactory
from elman_models.plans.overrides import Overrides
from elman_models.plans.plan import Plan
from elman_models.plans.prepare import Measuring, filled, only_of
from elman_models.plans.table import ORT_GRAPH, PROGRAM, WHOLE_GRAPH, Entry, PlanTable, PlanTables, Shape
from elman_models.plans.warm_up import MORE_LOOKS, UNIFORM, Progress, WarmUp, largest_error

if TYPE_CHECKING:
    from elman_models.graph.stack import GraphStack

log = logging.getLogger(__name__)

WHOLE_SHARE = 0.5
"""Of what a recurrence has of the budget: there are two plans here, and nothing ragged."""
Batch = tuple[PackedInputs, GraphState]
Result = tuple[dict[str, torch.Tensor], GraphState]


class WholePlan(Protocol):
    """One way to run all of a graph. A table looks at no more than its name."""

    name: str

    def run(self, inputs: PackedInputs, state: GraphState) -> Result:
        """One step, all outputs; see `GraphStack.step`."""
        ...


class ProgramPlan:
    """Node after node."""

    def __init__(self, stack: "GraphStack") -> None:
        """`stack`: runs so whatever the batch."""
        self.name = PROGRAM
        self._stack = stack

    def run(self, inputs: PackedInputs, state: GraphState) -> Result:
        """See `WholePlan`."""
        return self._stack.step(inputs, state)


def reason_against(compiler: Compiler, device: torch.device) -> str:
    """Why onnxruntime does not run the graph, in words; empty: it may."""
    try:
        _said(compiler, device)
    except NotCoveredError as reason:
        return str(reason)
    return ""


def _said(compiler: Compiler, device: torch.device) -> OnnxGraph:
    if device.type != "cpu":
        raise NotCoveredError(f"a model on {device.type}, where it runs on a CPU alone")
    if not has_ort():
        raise NotCoveredError("onnxruntime and onnx are not both installed")
    return streaming_graph(compiler)


def split_overrides(overrides: Overrides | None) -> tuple[Overrides | None, Overrides | None]:
    """Those of the recurrences, and those of the whole graph: a recurrence's plan that somebody asks for is not passed
    over."""
    if overrides is None:
        return None, None
    if isinstance(overrides, str):
        return (None, overrides) if overrides in (PROGRAM, ORT_GRAPH) else (overrides, PROGRAM)
    of_nodes = {shape: name for shape, name in overrides.items() if name not in (PROGRAM, ORT_GRAPH)}
    return of_nodes, dict(overrides) | dict.fromkeys(of_nodes, PROGRAM)


def measured_tables(
    stack: "GraphStack", compiler: Compiler, how: Measuring, budget_seconds: float, overrides: Overrides | None
) -> PlanTables:
    """All tables of `stack`, whose nodes `compiler` has bound; see `GraphStack.measured`.

    Raises:
        ValueError: an override that names no shape, or no plan that could run it.
    """
    if not compiler.recurrences:
        for sentence in left_out_of_graph(stack.spec):
            log.warning("model %s: %s", stack.spec.name, sentence)
    of_nodes, of_whole = split_overrides(overrides)
    candidates = _candidates(stack, compiler, of_whole)
    parts = len(compiler.recurrences) + (WHOLE_SHARE if candidates else 0.0)
    share = budget_seconds / (parts or 1.0)
    tables, of = PlanTables(), len(compiler.recurrences) + bool(candidates)
    for name, one in compiler.recurrences.items():
        part = replace(how, progress=_part(how.progress, len(tables), of))
        tables[name] = one.measured(part, budget_seconds=share, overrides=of_nodes)
    if candidates:
        part = replace(how, progress=_part(how.progress, len(tables), of))
        tables[WHOLE_GRAPH] = _measured_whole(stack, tables, candidates, part, share * WHOLE_SHARE, of_whole)
    return tables


def _part(progress: Progress | None, index: int, of: int) -> Progress | None:
    # That of one of several, as a part of the whole.
    if progress is None:
        return None
    return lambda done, num, shape: progress(index * num + done, of * num, shape)


def _candidates(stack: "GraphStack", compiler: Compiler, overrides: Overrides | None) -> list[Candidate]:
    """The plans beside the program; none where there is nothing to choose.

    Raises:
        ValueError: `overrides`, which are those of the whole graph, ask for one that there is not.
    """
    spec = stack.spec
    if overrides == PROGRAM:
        return []
    try:
        graph = _said(compiler, stack.device)
    except NotCoveredError as reason:
        asked = overrides == ORT_GRAPH or (isinstance(overrides, Mapping) and ORT_GRAPH in overrides.values())
        if asked:
            raise ValueError(f"plans: there is no plan {ORT_GRAPH!r} of model {spec.name}: {reason}") from reason
        log.info("plan %s of model %s is left out: %s", ORT_GRAPH, spec.name, reason)
        return []
    return [Candidate(ORT_GRAPH, lambda: _build(spec, graph), takes_ragged=False)]


def _build(spec: GraphSpec, graph: OnnxGraph) -> Plan:
    from elman_models.graph.ort import OrtGraphPlan  # an optional extra, of half a second

    return cast(Plan, OrtGraphPlan(ORT_GRAPH, spec, graph))


def _measured_whole(
    stack: "GraphStack",
    tables: PlanTables,
    candidates: Sequence[Candidate],
    how: Measuring,
    budget_seconds: float,
    overrides: Overrides | None,
) -> PlanTable:
    """The table of the whole graph, whose recurrences would run by `tables`."""
    program = cast(Plan, ProgramPlan(stack.with_plans(tables)))
    named = stack.spec.model_copy(update={"name": f"{stack.spec.name}.{WHOLE_GRAPH}"})
    factory = PlanFactory(named, [Candidate(PROGRAM, lambda: program, takes_ragged=True), *candidates])
    warm_up = GraphWarmUp(
        named,  # type: ignore[arg-type]  # whatever is measured has a name
        stack.device,
        factory,
        budget_seconds,
        how.progress,
        only_of(factory, overrides),
        stack=stack,
        tables=tables,
    )
    # Measured against recurrences whose plans are provisional it is so, too.
    is_quiet = how.is_quiet
    return filled(warm_up, replace(how, is_quiet=lambda: is_quiet() and not tables.is_provisional), overrides)


@dataclass(frozen=True, kw_only=True)
class GraphWarmUp(WarmUp):
    """Measures a whole graph's plans: on equally long rows, since ragged ones have but the program."""

    stack: "GraphStack"
    tables: PlanTables
    """Of its recurrences."""

    def measure(self) -> dict[Shape, Entry]:
        """See `WarmUp.measure`."""
        deadline = perf_counter() + self.budget_seconds
        self._drop_broken()
        of_ragged = {Shape(1, 1, True): Entry(PROGRAM)}
        names = self._names(is_ragged=False)
        if names == [PROGRAM]:
            return {Shape(1, 1): Entry(PROGRAM)} | of_ragged
        plans = self.factory.plans(names, {})
        entries = self._fastest(plans, UNIFORM, 0, deadline)
        for _ in range(MORE_LOOKS):
            entries = self._looked_again(plans, entries, deadline)
        return entries | of_ragged

    def key(self) -> dict[str, str]:
        """See `WarmUp.key`: the graph, and the plans of its recurrences."""
        spec = self.stack.spec.model_dump(mode="json", exclude={"name", "version", "description", "metadata"})
        chosen = {
            node: [[str(shape), entry.plan] for shape, entry in table.entries.items()]
            for node, table in self.tables.items()
        }
        return surroundings(self.device) | {"graph": digest(spec), "recurrences": digest(chosen)}

    def _sample(self, shape: Shape) -> Batch:  # type: ignore[override]  # what a graph's plans are given
        spec, sizes = self.stack.spec, shape.batch_sizes
        data = tuple(_random(one, int(sizes.sum())) for one in spec.inputs)
        begin = self.stack.initial_state(shape.rows, {one.name: _random(one, shape.rows) for one in spec.context})
        state = [one + 0.1 if one.is_floating_point() else one for one in begin.tensors]
        return PackedInputs(data, sizes), GraphState(begin.layout, tuple(state))

    def _error(self, got: Result, want: Result) -> float:  # type: ignore[override]  # likewise
        pairs = [(got[0][name], tensor) for name, tensor in want[0].items()]
        pairs += list(zip(got[1].tensors, want[1].tensors, strict=True))
        return largest_error([(g.float().nan_to_num(), w.float().nan_to_num()) for g, w in pairs if w.numel()])


def _random(one: InputSpec, batch: int) -> torch.Tensor:
    """[batch, *features]."""
    shape = (batch, *one.features)
    return torch.randint(one.num_embeddings or 1, shape) if one.dtype == DType.INT64 else torch.randn(shape)
