"""From a spec and its weights to programs: which nodes run for the outputs that are wanted, and in which parts."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

import torch

from elman_models.graph.operations.operation import Run
from elman_models.graph.operations.recurrences import Recurrence
from elman_models.graph.operations.reset_before import GruResetBefore
from elman_models.graph.program import SIZES, Instruction, Loop, execute
from elman_models.graph.recurrent import BoundRecurrence, recurrence_spec, whole_run
from elman_models.graph.spec import GraphSpec, Kind
from elman_models.graph.value import Per
from elman_models.plans.table import PlanTable


@dataclass(frozen=True, eq=False)
class BoundNode:
    """A node with its weights, on registers."""

    instruction: Instruction
    after_states: tuple[int, ...] = ()
    """The registers of the states that it carries, after a step."""
    carries: tuple[int, ...] = ()
    """Likewise, before it."""

    @property
    def values_read(self) -> tuple[int, ...]:
        """Without sizes and states."""
        return tuple(r for r in self.instruction.reads if r != SIZES and r not in self.carries)

    @property
    def is_per_step(self) -> bool:
        """Whether it may be run on some of the steps alone."""
        return SIZES not in self.instruction.reads

    @property
    def writes(self) -> tuple[int, ...]:
        """All registers that it writes."""
        writes = self.instruction.writes
        return (writes,) if isinstance(writes, int) else writes


@dataclass(frozen=True)
class Program:
    """What a step runs for some outputs."""

    constants: tuple[torch.Tensor, ...]
    """All registers after those of sizes, inputs, states and context, which stand first, as a step begins."""
    instructions: tuple[Instruction, ...]
    """On all steps."""
    selected: tuple[int, ...]
    """Registers of which then the rows' last steps are taken, where those alone are wanted."""
    tail: tuple[Instruction, ...]
    """On those."""
    states: tuple[int, ...]
    """Registers of the states after the step."""
    outputs: tuple[tuple[str, int], ...]
    """Names and registers of the outputs, in the order wanted."""


class Compiler:
    """Binds every node once; programs for outputs are parts of what is bound."""

    def __init__(self, spec: GraphSpec, weights: Mapping[str, torch.Tensor], device: torch.device) -> None:
        """`weights`: by the names of `spec.parameter_shapes()`, on the device."""
        self.spec = spec
        self._found = spec.inferred()
        self.recurrences: dict[str, BoundRecurrence] = {}
        self.weights: dict[str, Mapping[str, torch.Tensor]] = {}
        """Of all other nodes, as they are bound."""
        self.weights_bytes = sum(tensor.nbytes for tensor in weights.values())
        self._registers = {"": SIZES}  # by reference; of a state, before a step
        self._after: dict[str, int] = {}  # of a state, after a step
        self._num_registers = 1
        names = [i.name for i in spec.inputs] + [s.name for s in spec.states] + [c.name for c in spec.context]
        for name in names:
            self._register(name)
        self._num_given = self._num_registers
        self.nodes = [self._bound(index, weights, device) for index in range(len(spec.nodes))]
        self._after |= {s.name: self._registers[s.next] for s in spec.states if s.next}
        self._constants: list[torch.Tensor] = [torch.empty(0)] * self._num_registers
        values = self._found.values.items()
        self._per_step = {self._registers[n] for n, v in values if v.per is Per.STEP and n in self._registers}
        self._fold()

    def _register(self, name: str) -> int:
        self._registers[name] = register = self._new()
        return register

    def _new(self) -> int:
        self._num_registers += 1
        return self._num_registers - 1

    def _bound(self, index: int, weights: Mapping[str, torch.Tensor], device: torch.device) -> BoundNode:
        node, operation = self.spec.nodes[index], self._found.operations[index]
        inputs = [self._found.values[reference] for reference in node.inputs]
        own = {name: weights[tensor] for name, tensor in node.weights.items()}
        if not isinstance(operation, Recurrence):  # which copies them
            self.weights[node.name] = own
        carries = [node.states[name] for name in operation.states(inputs)] if node.states else []
        is_recurrence, is_whole = isinstance(operation, Recurrence | GruResetBefore), self.spec.kind is Kind.WHOLE
        how = {"begins_at_values": len(inputs) > 1, "has_states": bool(carries)}
        if isinstance(operation, Recurrence):
            bound = self._recurrence(node.name, operation, inputs[0].features[0], own, device)
            run = bound.whole(**how) if is_whole else bound.run
        elif isinstance(operation, GruResetBefore) and is_whole:
            run = whole_run(operation.bind(inputs, own), [(1, operation.hidden_size)], **how)
        elif operation.states(inputs) and not carries:
            run = _from_zeros(operation.bind(inputs, own), [s.features for s in operation.states(inputs).values()])
        else:
            run = operation.bind(inputs, own)
        begins = [] if is_whole and len(inputs) > 1 else carries  # else at the further inputs
        reads = [self._registers[reference] for reference in (*node.inputs, *begins)]
        reads = [SIZES, *reads] if operation.needs_sizes else reads
        # In a streaming graph what a recurrence ends with is its state, not a value.
        names = operation.results[:1] if is_recurrence and not is_whole else operation.results
        writes = [self._register(f"{node.name}:{name}") for name in names]
        self._registers[node.name] = writes[0]
        for state in carries:
            self._after[state] = self._new()
        after = tuple(self._after[state] for state in carries)
        whole = (*writes, *after)
        instruction = Instruction(run, tuple(reads), whole[0] if len(whole) == 1 else whole)
        return BoundNode(instruction, after, tuple(self._registers[state] for state in begins))

    def _recurrence(
        self, name: str, operation: Recurrence, size: int, own: Mapping[str, torch.Tensor], device: torch.device
    ) -> BoundRecurrence:
        bound = self.recurrences[name] = BoundRecurrence(recurrence_spec(self.spec, name, operation, size), own, device)
        return bound

    def _fold(self) -> None:
        """What depends on constants alone is computed now."""
        names = [node.name for node in self.spec.nodes]
        is_constant = [self._found.values[name].per is Per.MODEL for name in names]
        folded = [node.instruction for node, constant in zip(self.nodes, is_constant, strict=True) if constant]
        execute(folded, self._constants)
        self.nodes = [node for node, constant in zip(self.nodes, is_constant, strict=True) if not constant]

    def constant(self, reference: str) -> torch.Tensor:
        """A value of which there is one for the model: given, or computed of such."""
        return self._constants[self._registers[reference]]

    def with_plans(self, plans: Mapping[str, PlanTable]) -> "Compiler":
        """The same of a streaming graph, but with other tables for its recurrences; nothing is copied."""
        twin = copy(self)
        twin.recurrences = {name: one.with_plans(plans[name]) for name, one in self.recurrences.items()}
        runs: dict[Run, Run] = {one.run: twin.recurrences[name].run for name, one in self.recurrences.items()}
        twin.nodes = [replace(node, instruction=_swapped(node.instruction, runs)) for node in self.nodes]
        return twin

    def program(self, outputs: Sequence[str], *, one_step: bool, last_only: bool, with_state: bool = True) -> Program:
        """For these outputs.

        Args:
            outputs: their names.
            one_step: no row has more than one step.
            last_only: the outputs of rows' last steps alone are wanted.
            with_state: whether the states are, too; else it has none.

        Raises:
            ValueError: no such output.
        """
        known = {output.name: output.value for output in self.spec.outputs}
        for name in outputs:
            if name not in known:
                raise ValueError(f"outputs: there is no output {name!r}, but {', '.join(known)}")
        wanted = [(name, self._registers[known[name]]) for name in outputs]
        after = [self._after[state.name] for state in self.spec.states] if with_state else []
        nodes = _needed(self.nodes, {*(register for _, register in wanted), *after})
        if one_step or self.spec.kind is not Kind.STEP:
            return self._split(nodes, wanted, after, last_only and not one_step)
        return self._looped(nodes, wanted, after, last_only)

    def _looped(
        self, nodes: Sequence[BoundNode], wanted: list[tuple[str, int]], after: list[int], last_only: bool
    ) -> Program:
        """Nodes that depend on no state that nodes compute run before the loop, those that no such state needs after
        it; both on all steps together."""
        fed = [s for s in self.spec.states if s.next]
        before = {self._registers[s.name] for s in fed}
        dependent = set(_dependents(nodes, before))
        body = [node for node in _needed(nodes, {self._after[s.name] for s in fed}) if node in dependent]
        inner = {w for node in body for w in node.writes} | before
        in_loop = set(body)
        outer = [node for node in nodes if node not in in_loop]
        needs = {r for node in outer for r in node.values_read} | {register for _, register in wanted}
        collected = sorted(inner & needs)
        states = [(self._registers[s.name], self._after[s.name], 0) for s in fed]
        states += [
            (carried, later, self._axis(carried))
            for node in body
            for carried, later in zip(node.carries, node.after_states, strict=True)
        ]
        reads = {r for node in body for r in node.values_read} | {later for _, later, _ in states}
        variable = {*range(1, self._num_given), *(w for node in nodes for w in node.writes)}
        pieces = sorted((reads - inner) & variable)
        loop = Loop([node.instruction for node in body], self._constants, pieces, states, collected)
        # The states after the last step have registers of their own: those of a step's are given for all steps.
        fresh = {later: self._num_registers + index for index, (_, later, _) in enumerate(states)}
        ends = [fresh.get(later, later) for later in after]
        entry = Instruction(
            loop.run,
            (SIZES, *pieces, *(b for b, _, _ in states)),
            (*collected, *(fresh[later] for _, later, _ in states)),
        )
        first = [node for node in outer if node not in dependent]
        last = [node for node in outer if node in dependent]
        ordered = [*first, BoundNode(entry, tuple(fresh.values())), *last]
        return self._split(ordered, wanted, ends, last_only, len(states))

    def _axis(self, register: int) -> int:
        state = next(s for s in self.spec.states if self._registers[s.name] == register)
        return 0 if state.layers is None else 1

    def _split(
        self,
        nodes: Sequence[BoundNode],
        wanted: list[tuple[str, int]],
        after: list[int],
        last_only: bool,
        num_fresh: int = 0,
    ) -> Program:
        """Where last steps alone are wanted, nodes that nothing over time needs are run on those alone."""
        constants = (*self._constants[self._num_given :], *[torch.empty(0)] * num_fresh)
        instructions = tuple(node.instruction for node in nodes)
        if not last_only:
            return Program(constants, instructions, (), (), tuple(after), tuple(wanted))
        head = _needed(nodes, {w for node in nodes if not node.is_per_step for w in node.writes})
        early = set(head)
        tail = [node for node in nodes if node not in early]
        done = {w for node in tail for w in node.writes}
        crossing = {r for node in tail for r in node.values_read} | {register for _, register in wanted}
        selected = tuple(sorted((crossing - done) & self._per_step))
        return Program(
            constants,
            tuple(node.instruction for node in head),
            selected,
            tuple(node.instruction for node in tail),
            tuple(after),
            tuple(wanted),
        )


def _swapped(instruction: Instruction, runs: Mapping[Run, Run]) -> Instruction:
    return instruction._replace(run=runs.get(instruction.run, instruction.run))


def _needed(nodes: Sequence[BoundNode], wanted: Iterable[int]) -> list[BoundNode]:
    """Those that what is wanted depends on."""
    needed, taken = set(wanted), []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.writes):
            taken.append(node)
            needed.update(node.values_read)
    return taken[::-1]


def _dependents(nodes: Sequence[BoundNode], sources: Iterable[int]) -> list[BoundNode]:
    """Those that depend on the sources."""
    reached, taken = set(sources), []
    for node in nodes:
        if not reached.isdisjoint(node.values_read):
            taken.append(node)
            reached.update(node.writes)
    return taken


def _from_zeros(run: Run, shapes: Sequence[tuple[int, ...]]) -> Run:
    """An operation of a whole graph whose state begins at zeros and is not kept."""

    def wrapped(sizes: "torch.Tensor", x: torch.Tensor) -> torch.Tensor:
        states = [x.new_zeros(int(sizes[0]), *shape) for shape in shapes]
        return run(sizes, x, *states)[0]

    return wrapped
