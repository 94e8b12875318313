"""What the tests of plans share: every candidate of a spec, plans that only keep count, the plain module's answer."""

from collections.abc import Iterator

import torch
from recurrent_cases import CPU, Reference, as_state, random_input, random_state, unpack

from elman_models import ModelSpec, Packed, Stack, State
from elman_models.plans.candidates import candidates
from elman_models.plans.factory import PlanFactory
from elman_models.plans.plan import Plan
from elman_models.plans.segments import SegmentsPlan


class CountingPlan:
    """Adds one to everything per step; remembers the shapes it ran."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.shapes: list[tuple[int, int, bool]] = []

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        self.shapes.append((input.num_rows, input.seq_len, input.is_ragged))
        return input.data + 1, State(state.h + input.seq_len, None if state.c is None else state.c + input.seq_len)


def make_tame_model(spec: ModelSpec) -> tuple[Reference, Stack]:
    """As `make_model`, with weights as torch initialises them: wilder stacks of this size magnify any rounding."""
    reference = Reference(spec)
    for parameter in reference.parameters():
        parameter.uniform_(-(spec.hidden_size**-0.5), spec.hidden_size**-0.5)
    return reference, Stack(spec, reference.state_dict(), CPU)


def make_factory(stack: Stack) -> PlanFactory:
    return PlanFactory(stack.spec, candidates(stack.spec, stack.rnn))


def plans_that_run(factory: PlanFactory, *, is_ragged: bool) -> Iterator[Plan]:
    """Every candidate; for ragged batches those that want equally long rows run them in segments."""
    for name, candidate in factory.candidates.items():
        plan = factory.plan(name)
        if is_ragged and not candidate.takes_ragged:
            plan = segments_of(plan)
        yield plan


def segments_of(plan: Plan) -> SegmentsPlan:
    segments = SegmentsPlan(lambda _: plan)
    segments.name = f"segments of {plan.name}"
    return segments


def random_rows(spec: ModelSpec, lengths: list[int]) -> tuple[list[torch.Tensor], State]:
    """Each row's input [T_b, ...], and the state of all."""
    return [random_input(spec, n) for n in lengths], random_state(spec, len(lengths))


def alone(reference: Reference, rows: list[torch.Tensor], before: State) -> tuple[list[torch.Tensor], State]:
    """Each row's output and the states after, by plain torch.nn on one row at a time."""
    outputs, states = [], []
    for b, row in enumerate(rows):
        output, hx = reference(row, before.h[:, b] if before.c is None else (before.h[:, b], before.c[:, b]))
        outputs.append(output)
        states.append(as_state(hx))
    cells = [state.c for state in states if state.c is not None]
    return outputs, State(torch.stack([s.h for s in states], 1), torch.stack(cells, 1) if cells else None)


def by_row(output: torch.Tensor, rows: list[torch.Tensor]) -> list[torch.Tensor]:
    return unpack(output, [len(row) for row in rows])
