"""A graph ready to run; one signature, `step(inputs, state) -> (outputs, state)`."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import cast

import torch

from elman_models.graph.compile import Compiler, Program
from elman_models.graph.groups import groups
from elman_models.graph.inputs import PackedInputs
from elman_models.graph.program import execute
from elman_models.graph.recurrent import BoundRecurrence
from elman_models.graph.spec import GraphSpec
from elman_models.graph.state import GraphPool, GraphState, StateLayout
from elman_models.graph.value import Per
from elman_models.graph.weights import as_tensors
from elman_models.graph.whole import WholePlan, measured_tables, reason_against, split_overrides
from elman_models.hand_off import linear_maps
from elman_models.packed import Packed
from elman_models.plans.cache import PlanCache
from elman_models.plans.overrides import Overrides
from elman_models.plans.prepare import Measuring
from elman_models.plans.table import NO_PLAN, ORT_GRAPH, PROGRAM, SEVERAL_PLANS, WHOLE_GRAPH, PlanTable, PlanTables
from elman_models.plans.warm_up import Progress

Wanted = tuple[str, ...] | None
"""The names of outputs; None: all."""
Stepped = tuple[dict[str, torch.Tensor], GraphState]
"""Outputs by name, and the state after."""
MAX_PROGRAMS = 64
"""Kept for sets of wanted outputs; callers choose those."""


class GraphStack:
    """A graph with its weights on one device. Nodes are bound when it is loaded, and run by number."""

    def __init__(self, spec: GraphSpec, weights: Mapping[str, torch.Tensor], device: torch.device) -> None:
        """Copies `weights`: tensors by the names of `spec.parameter_shapes()`.

        Raises:
            WeightsError: the weights are not the spec's, or not finite.
        """
        tensors = as_tensors(spec, weights, "weights")
        if device.type == "cuda":
            # Else cuDNN rounds float32 products to 10 bits (TF32), and nothing is within 1e-5 any more. Global to the
            # process, as torch has it.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        # A copy even on the CPU: whoever made the weights may write to them, a loaded model is immutable.
        own = {name: tensor.to(device, copy=True).contiguous() for name, tensor in tensors.items()}
        self.spec = spec
        self.device = device
        self.layout = StateLayout.of(spec)
        self.fingerprint = ""
        """Of the bundle that it was loaded from (`fingerprint.py`); empty: of none."""
        self.num_computed = 0
        """Time steps, over all rows, that the latest step computed."""
        self.weights_bytes = sum(tensor.nbytes for tensor in own.values())
        """Bytes of all tensors."""
        self.hand_off = linear_maps(spec.hand_off, own, device)
        """By the states that they make of another model's."""
        self._initial = {s.name: own[s.initial] for s in spec.states if s.initial}
        with torch.inference_mode():
            self._compiler = Compiler(spec, own, device)
        self._whole: PlanTable | None = None
        self._ran_whole = False  # the latest step, by another plan than the program
        self._programs: dict[tuple[tuple[str, ...] | None, bool, bool, bool], Program] = {}
        self._output_names = tuple(output.name for output in spec.outputs)
        self._per_step = self._outputs_per_step()
        self._is_whole = not spec.keeps_sessions
        self._num_given = len(spec.inputs) + len(self.layout.columns)

    def _outputs_per_step(self) -> dict[str, bool]:
        values = self.spec.inferred().values
        return {output.name: values[output.value].per is Per.STEP for output in self.spec.outputs}

    @property
    def plans(self) -> PlanTables:
        """Which plan runs a batch, by the recurrence's node; and under WHOLE_GRAPH how the whole graph runs."""
        tables = PlanTables({name: one.plans for name, one in self._compiler.recurrences.items()})
        if self._whole:
            tables[WHOLE_GRAPH] = self._whole
        return tables

    @property
    def ort_graph_left_out(self) -> str:
        """Why onnxruntime does not run the whole graph, in words; empty: it may."""
        return reason_against(self._compiler, self.device)

    def recurrence(self, node: str) -> BoundRecurrence:
        """That of a node.

        Raises:
            KeyError: the node is none.
        """
        return self._compiler.recurrences[node]

    @property
    def plan_name(self) -> str:
        """The plan of the latest step: of all of it, or of the recurrences that it needed, if these ran by one."""
        if self._ran_whole:
            return ORT_GRAPH
        names = set(self.plan_names.values()) - {""}
        return names.pop() if len(names) == 1 else SEVERAL_PLANS if names else NO_PLAN

    @property
    def plan_names(self) -> dict[str, str]:
        """The plan of the latest step, by the recurrence's node, empty of one that it did not need; or by WHOLE_GRAPH,
        where one ran all of it."""
        if self._ran_whole:
            return {WHOLE_GRAPH: ORT_GRAPH}
        return {name: one.plan_name for name, one in self._compiler.recurrences.items()}

    def initial_state(self, batch: int, context: Mapping[str, torch.Tensor] | None = None) -> GraphState:
        """The state of `batch` sequences before their first step: zeros, or what was learned.

        Args:
            batch: rows.
            context: by name [batch, *features]; needed where the graph has any.

        Raises:
            ValueError: a context is missing or unknown.
        """
        tensors: dict[str, torch.Tensor] = dict(context or {})
        for column in self.layout.columns[: self.layout.num_states]:
            learned = self._initial.get(column.name)
            tensors[column.name] = (
                torch.zeros(column.shape(batch), dtype=column.dtype.torch, device=self.device)
                if learned is None
                else learned.unsqueeze(column.axis).expand(column.shape(batch)).contiguous()
            )
        return GraphState.named(self.layout, tensors)

    def pool(self, num_slots: int) -> GraphPool:
        """A pool for its states, which begin as the graph's do.

        Raises:
            ValueError: no slots.
        """
        return GraphPool(self.layout, num_slots, self.device, self._initial)

    @torch.inference_mode()
    def warm_up(
        self,
        progress: Progress | None = None,
        *,
        cache: PlanCache | None = None,
        budget_seconds: float = 12.0,
        overrides: Overrides | None = None,
    ) -> None:
        """Fills all tables by measuring, on the calling thread.

        Args:
            progress: called before each shape: shapes done, shapes in all, the shape's name; over all tables.
            cache: where tables are kept; None: measure anew, keep nothing.
            budget_seconds: of all together; 0: nothing is measured.
            overrides: one plan's name for everything, or names by shape.

        Raises:
            ValueError: an override that names no shape, or no plan that could run it.
        """
        how = Measuring(progress=progress, cache=cache)
        self.take(self.measured(how, budget_seconds=budget_seconds, overrides=overrides))

    def measured(self, how: Measuring, *, budget_seconds: float, overrides: Overrides | None = None) -> PlanTables:
        """As `warm_up`, but measured as `how` says, and given instead of taken.

        Raises:
            ValueError: as `warm_up`.
        """
        return measured_tables(self, self._compiler, how, budget_seconds, overrides)

    def measured_at(
        self, name: str, how: Measuring, *, budget_seconds: float, overrides: Overrides | None = None
    ) -> PlanTable:
        """One of the tables of `measured`, with all the budget: a recurrence's, by its node, or WHOLE_GRAPH's.

        Raises:
            ValueError: as `warm_up`.
            KeyError: there is no such table.
        """
        if name == WHOLE_GRAPH:  # which depends on the others
            return self.measured(how, budget_seconds=budget_seconds, overrides=overrides)[name]
        of_nodes, _ = split_overrides(overrides)
        return self.recurrence(name).measured(how, budget_seconds=budget_seconds, overrides=of_nodes)

    def take(self, plans: Mapping[str, PlanTable]) -> None:
        """Takes tables that were measured, between two steps; without one of WHOLE_GRAPH nodes run by themselves."""
        for name, table in plans.items():
            if name != WHOLE_GRAPH:
                self._compiler.recurrences[name].plans = table
        self._whole = plans.get(WHOLE_GRAPH)

    def with_plans(self, plans: Mapping[str, PlanTable]) -> "GraphStack":
        """The same streaming graph by other tables of its recurrences, node after node; nothing is copied."""
        twin = copy(self)
        twin._compiler = self._compiler.with_plans(plans)
        twin._programs, twin._whole = {}, None
        return twin

    def step(
        self,
        inputs: PackedInputs | Packed,
        state: GraphState,
        *,
        outputs: Wanted = None,
        last_only: bool = False,
        with_state: bool = True,
    ) -> Stepped:
        """Advances every row by its part of `inputs`.

        Args:
            inputs: on the graph's device; ids in [0, num_embeddings), which the caller has checked.
            state: of the rows, in the inputs' order, with its context; it is not written to.
            outputs: the names of those that are wanted, None: all. Nodes that none of these needs are not run.
            last_only: of outputs per step each row's last step alone.
            with_state: whether the state is wanted; of a whole graph False has nothing run for it alone.

        Returns:
            Outputs by name: per step [N, *features] in the packed layout, or of last steps [B, *features]; per row
            [B, *features]. And the state after each row's last step, without its context, where it is wanted.

        Raises:
            ValueError: no such output; or inputs, states and context that are not as many as the graph's.
        """
        if isinstance(inputs, Packed):
            inputs = PackedInputs.of(inputs)
        if torch.is_inference_mode_enabled():  # as in `Stack.step`
            return self._step(inputs, state, outputs, last_only, with_state)
        with torch.inference_mode():
            return self._step(inputs, state, outputs, last_only, with_state)

    def _step(
        self, inputs: PackedInputs, state: GraphState, outputs: Wanted, last_only: bool, with_state: bool
    ) -> Stepped:
        self.num_computed = len(inputs.data[0])
        if self._is_whole and inputs.is_ragged:
            names = self._output_names if outputs is None else outputs
            return self._by_length(inputs, state, names, last_only, with_state)
        if self._is_whole:  # where no states are carried, outputs may need some recurrences alone
            for one in self._compiler.recurrences.values():
                one.plan_name = ""
        given = (*inputs.data, *state.tensors)
        if len(given) != self._num_given:
            raise ValueError(f"expected {self._num_given} tensors of inputs, states and context, got {len(given)}")
        whole = self._whole_plan(inputs, outputs, last_only) if self._whole else None
        self._ran_whole = whole is not None
        if whole:
            return whole.run(inputs, state)
        program = self._program(outputs, len(inputs.batch_sizes) == 1, last_only, with_state or not self._is_whole)
        return self._run(program, inputs, given)

    def _run(self, program: Program, inputs: PackedInputs, given: Sequence[torch.Tensor]) -> Stepped:
        """Node after node; `given`: inputs, states and context."""
        registers = cast(list[torch.Tensor], [inputs.batch_sizes, *given, *program.constants])  # all but the first are
        execute(program.instructions, registers)
        if program.selected:
            packed = Packed(inputs.data[0], inputs.batch_sizes)
            for register in program.selected:
                registers[register] = packed.last_steps(registers[register])
        execute(program.tail, registers)
        results = {name: registers[register] for name, register in program.outputs}
        return results, GraphState(self.layout, tuple([registers[register] for register in program.states]))

    def _whole_plan(self, inputs: PackedInputs, outputs: Wanted, last_only: bool) -> WholePlan | None:
        """What runs all nodes together, if it is to: it computes every output, of every step."""
        wants_all = outputs is None or outputs == self._output_names
        if self._whole is None or not wants_all or (last_only and len(inputs.batch_sizes) > 1):
            return None
        plan = self._whole.choose(inputs.batch_sizes)
        return None if plan.name == PROGRAM else cast(WholePlan, plan)

    def _program(self, outputs: Wanted, one_step: bool, last_only: bool, with_state: bool) -> Program:
        key = (outputs, one_step, last_only, with_state)
        program = self._programs.get(key)
        if program is None:
            names = self._output_names if outputs is None else outputs
            program = self._compiler.program(names, one_step=one_step, last_only=last_only, with_state=with_state)
            if len(self._programs) >= MAX_PROGRAMS:
                self._programs.clear()
            self._programs[key] = program
        return program

    def _by_length(
        self, inputs: PackedInputs, state: GraphState, names: Sequence[str], last_only: bool, with_state: bool
    ) -> Stepped:
        """A whole graph needs its rows' ends: equally long ones run together."""
        together = list(groups(inputs.batch_sizes))
        parts, ends = [], []
        for group in together:
            index = group.index.to(self.device)
            own = PackedInputs(tuple(one[index] for one in inputs.data), group.batch_sizes)
            begin = state.part(group.rows)
            part, end = self.step(own, begin, outputs=tuple(names), last_only=last_only, with_state=with_state)
            parts.append(part)
            ends.append(end)
        self.num_computed = len(inputs.data[0])
        order = torch.cat([group.index for group in together]).to(self.device)
        given = {}
        for name in names:
            given[name] = torch.cat([part[name] for part in parts])
            if self._per_step[name] and not last_only:
                given[name] = torch.empty_like(given[name]).index_copy_(0, order, given[name])
        return given, GraphState.joined(ends)
