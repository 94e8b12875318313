"""Recurrent stacks, which the plans run."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from elman_models.graph.operations.operation import (
    Dimension,
    Flag,
    Operation,
    Run,
    StateShape,
    Weight,
    expect,
    expect_floats,
)
from elman_models.graph.value import Per, Value
from elman_models.spec import MAX_SIZE, Cell, ModelSpec


class Recurrence(Operation):
    """`rnn_tanh`, `rnn_relu`, `lstm`, `gru`: `torch.nn.RNN`, `LSTM`, `GRU`, with their weights' names.

    Its state is `h` [layers x directions, B, state size] and, for an LSTM, `c`. In a whole graph rows begin there or,
    where no state is declared, at zeros; or at further inputs `h_0` (and `c_0`), per row [layers x directions, size].
    `node:h_n` and `node:c_n` are what they end with, of that shape, and so are its states, where they are declared.
    """

    arity: ClassVar[tuple[int, int]] = (1, 3)
    needs_sizes: ClassVar[bool] = True

    hidden_size: Dimension
    num_layers: Annotated[int, Field(ge=1, le=256, strict=True)] = 1
    bias: Flag = True
    bidirectional: Flag = False
    proj_size: Annotated[int, Field(ge=0, le=MAX_SIZE, strict=True)] = 0

    def spec(self, input_size: int) -> ModelSpec:
        """The stack alone.

        Raises:
            ValueError: sizes that contradict each other.
        """
        fields = self.model_dump(exclude={"op"}) | {"cell": Cell(self.op), "input_size": input_size}
        return ModelSpec(name="stack", **fields)

    @property
    def results(self) -> tuple[str, ...]:
        """The output, and what rows end with."""
        return ("output", "h_n", "c_n") if self.op == Cell.LSTM else ("output", "h_n")

    @property
    def looks_ahead(self) -> bool:
        """A backward direction begins at the end."""
        return self.bidirectional

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The stack's output, then its state per row."""
        expect_floats(*inputs)
        expect("what the input is per", Per.STEP, inputs[0].per)
        expect("number of the input's axes", 1, len(inputs[0].features))
        spec = self.spec(inputs[0].features[0])
        ends = [Value((spec.state_layers, spec.state_size), per=Per.ROW)]
        if spec.has_cell_state:
            ends.append(Value((spec.state_layers, spec.hidden_size), per=Per.ROW))
        if len(inputs) > 1:
            expect("number of inputs", 1 + len(ends), len(inputs))
        for given, wanted in zip(inputs[1:], ends, strict=False):
            expect("initial state's features", wanted.features, given.features)
            if given.per is Per.STEP:
                raise ValueError("initial state: expected one per row or a constant, got one per step")
        return (inputs[0].with_features(spec.stack_output_size), *ends)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """As torch names them: `weight_ih_l0` and so on."""
        shapes = self.spec(inputs[0].features[0]).parameter_shapes()
        return {name.removeprefix("rnn."): Weight(shape) for name, shape in shapes.items()}

    def states(self, inputs: Sequence[Value]) -> dict[str, StateShape]:
        """`h`, and for an LSTM `c`."""
        spec = self.spec(inputs[0].features[0])
        h = {"h": StateShape((spec.state_size,), spec.state_layers)}
        return h | {"c": StateShape((spec.hidden_size,), spec.state_layers)} if spec.has_cell_state else h

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """Not here: plans run it (`graph/recurrent.py`)."""
        raise NotImplementedError("a recurrence is run by its plans")
