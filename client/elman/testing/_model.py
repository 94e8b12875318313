"""A model of the fake server: a recurrence in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from elman.testing._names import INPUT, OUTPUT
from elman.testing._refusal import Refusal
from elman.v1 import models_pb2, tensor_pb2

Values = npt.NDArray[np.float32]
Step = Callable[[Values, Values], tuple[Values, Values]]
"""`(input [input_size], state [hidden_size]) -> (output [output_size], state)`; the input of a token model is an id."""


def leaky_integrator(decay: float = 0.5) -> Step:
    """`state = decay * state + input`, which is also the output. Sizes must agree."""

    def step(values: Values, state: Values) -> tuple[Values, Values]:
        state = (np.float32(decay) * state + values).astype(np.float32)
        return state, state

    return step


@dataclass(frozen=True)
class FakeModel:
    """What the fake server says that it has loaded."""

    name: str = "fake"
    version: str = "1"
    input_size: int = 1
    hidden_size: int = 0
    """Size of the state; 0: `input_size`."""
    output_size: int = 0
    """0: `hidden_size`."""
    step: Step = field(default_factory=leaky_integrator)
    num_embeddings: int = 0
    """More than 0: a token model, whose `step` is given an id."""
    is_lstm: bool = False
    """Whether there is a c_n; it is told as twice the state."""
    is_bidirectional: bool = False
    """Whether sessions are refused, as on a bidirectional model; `infer` still runs forward only."""
    max_sessions: int = 10000

    @property
    def state_size(self) -> int:
        """Width of the state."""
        return self.hidden_size or self.input_size

    @property
    def num_outputs(self) -> int:
        """Width of the output."""
        return self.output_size or self.state_size

    @property
    def features(self) -> tuple[int, ...]:
        """Features of one step's input."""
        return () if self.num_embeddings else (self.input_size,)

    @property
    def dtype(self) -> tensor_pb2.DataType.ValueType:
        """Element type of the input."""
        return tensor_pb2.DATA_TYPE_I64 if self.num_embeddings else tensor_pb2.DATA_TYPE_F32

    def check_steps(self) -> None:
        """Raises Refusal where sessions hold what whole sequences gave, and cannot be stepped."""
        if self.is_bidirectional:
            raise Refusal("NO_SESSIONS", "a bidirectional model keeps no sessions", model=self.name)

    def bad_value(self, values: npt.NDArray[np.generic]) -> str:
        """What is wrong with an input's values; empty if nothing is."""
        if self.num_embeddings:
            is_good = np.all((values.astype(np.int64) >= 0) & (values.astype(np.int64) < self.num_embeddings))
            return "" if is_good else f"token ids are in [0, {self.num_embeddings}), and one that came is not"
        return "" if np.isfinite(values.astype(np.float64)).all() else "a value is NaN or infinite"

    def run(self, values: npt.NDArray[np.generic], state: Values) -> tuple[Values, Values]:
        """`values` [T, *features] from `state` [state_size]: outputs [T, num_outputs] and the state after them."""
        outputs = np.empty((len(values), self.num_outputs), np.float32)
        for index, value in enumerate(values):
            outputs[index], state = self.step(value, state)
        return outputs, state

    def info(self) -> models_pb2.ModelInfo:
        """As the contract describes it."""
        info = models_pb2.ModelInfo(
            name=self.name,
            version=self.version,
            description="A fake, for tests.",
            cell=models_pb2.CELL_LSTM if self.is_lstm else models_pb2.CELL_GRU,
            input_size=self.input_size,
            hidden_size=self.state_size,
            num_layers=1,
            bias=True,
            bidirectional=self.is_bidirectional,
            input_dtype=self.dtype,
            input_features=self.features,
            output_dtype=tensor_pb2.DATA_TYPE_F32,
            output_size=self.num_outputs,
            state_layers=1,
            state_size=self.state_size,
            session_state_bytes=4 * self.state_size,
            max_sessions=0 if self.is_bidirectional else self.max_sessions,
            device="cpu",
        )
        info.needs_whole_sequences = self.is_bidirectional
        info.inputs.add(name=INPUT, dtype=self.dtype, features=self.features, num_embeddings=self.num_embeddings)
        for name in ("h", "c")[: 1 + self.is_lstm]:
            info.states.add(name=name, dtype=tensor_pb2.DATA_TYPE_F32, features=[self.state_size], layers=1)
        info.outputs.add(name=OUTPUT, dtype=tensor_pb2.DATA_TYPE_F32, features=[self.num_outputs])
        if self.num_embeddings:
            info.embedding.num_embeddings = self.num_embeddings
            info.embedding.embedding_dim = self.input_size
        return info
