"""A recurrence of a graph: its module on one device, and the table of plans that run it."""

from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.graph.operations.operation import Run
from elman_models.graph.operations.recurrences import Recurrence
from elman_models.graph.spec import GraphSpec
from elman_models.packed import Packed
from elman_models.plans.candidates import default_plan
from elman_models.plans.overrides import Overrides
from elman_models.plans.prepare import Measuring, prepare
from elman_models.plans.table import PlanTable
from elman_models.recurrent_module import recurrent_module
from elman_models.spec import ModelSpec
from elman_models.state import State

Sizes = NDArray[np.int64]


def recurrence_spec(graph: GraphSpec, node: str, operation: Recurrence, input_size: int) -> ModelSpec:
    """The stack that a graph's node is, called MODEL.NODE, of the graph's precision."""
    named = {"name": f"{graph.name}.{node}", "precision": graph.precision}
    return operation.spec(input_size).model_copy(update=named)


class BoundRecurrence:
    """A stack with its weights; which plan runs it is looked up for each batch."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, torch.Tensor], device: torch.device) -> None:
        """Copies `weights`: by torch's names, of the spec's shapes, float32."""
        self.spec = spec
        self.rnn = recurrent_module(spec)
        self.rnn.load_state_dict(weights)
        self.rnn.to(device)
        self.rnn.flatten_parameters()  # one storage, which cuDNN needs; nothing on CPU
        self.plans = PlanTable.of_one(default_plan(self.rnn))
        """Which plan runs a batch: the module itself, until `GraphStack.warm_up`."""
        self.plan_name = ""
        """The plan of the latest step."""

    def measured(self, how: Measuring, *, budget_seconds: float, overrides: Overrides | None = None) -> PlanTable:
        """The table, from the cache or measured now: see `plans.prepare`.

        Raises:
            ValueError: an override that names no shape, or no plan that could run it.
        """
        return prepare(self.spec, self.rnn, budget_seconds=budget_seconds, overrides=overrides, **vars(how))

    def with_plans(self, plans: PlanTable) -> "BoundRecurrence":
        """The same weights by another table."""
        twin = copy(self)
        twin.plans = plans
        return twin

    def run(
        self, sizes: Sizes, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        """The output [N, stack_output_size] of `x` [N, input_size], packed by `sizes`, then `h` and for an LSTM `c`
        after each row's last step, shaped as they are given: [state_layers, B, size]."""
        plan = self.plans.choose(sizes)
        self.plan_name = plan.name
        output, state = plan.run(Packed(x.contiguous(), sizes), State(h, c))
        return (output, state.h) if state.c is None else (output, state.h, state.c)

    def whole(self, *, begins_at_values: bool, has_states: bool) -> Run:
        """See `whole_run`."""
        spec = self.spec
        widths = (spec.state_size, spec.hidden_size) if spec.has_cell_state else (spec.state_size,)
        shapes = [(spec.state_layers, width) for width in widths]
        return whole_run(self.run, shapes, begins_at_values=begins_at_values, has_states=has_states)


def whole_run(run: Run, shapes: Sequence[tuple[int, int]], *, begins_at_values: bool, has_states: bool) -> Run:
    """The function of a whole graph of one of a streaming one, whose states are [layers, B, width].

    Args:
        run: that of the streaming one.
        shapes: layers and width of each state.
        begins_at_values: whether it is given what rows begin with as values have it, [B, layers, width] or for all rows
            [layers, width]; else as states, or, without these, nothing: rows begin at zeros.
        has_states: whether it gives what rows end with as states, too, behind its results, which have it as values.
    """

    def whole(sizes: Sizes, x: torch.Tensor, *initial: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows, state = int(sizes[0]), list(initial)
        if begins_at_values:
            state = [one.expand(rows, *one.shape[-2:]).transpose(0, 1).contiguous() for one in initial]
        elif not has_states:
            state = [x.new_zeros(layers, rows, width) for layers, width in shapes]
        output, *after = run(sizes, x, *state)
        results = (output, *(one.transpose(0, 1) for one in after))
        return (*results, *after) if has_states else results

    return whole
