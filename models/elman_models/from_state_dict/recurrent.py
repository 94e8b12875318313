"""The recurrent stack in a state_dict: found by the names that `torch.nn` gives its parameters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from elman_models.errors import WeightsError
from elman_models.spec import Cell

# torch.nn.RNN/LSTM/GRU: `weight_ih_l0_reverse`; torch.nn.RNNCell/LSTMCell/GRUCell: `weight_ih` (both: "Variables").
_PARAMETER = re.compile(
    r"(?:(?P<prefix>.*)\.)?(?P<kind>weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)"
    r"(?:_l(?P<layer>\d{1,4})(?P<reverse>_reverse)?)?"
)


@dataclass(frozen=True)
class Recurrent:
    """One stack's parameters, by the names that a spec gives them, and what their shapes say."""

    prefix: str
    """The attribute in the user's module: `encoder.rnn`; empty for a bare `torch.nn.LSTM`'s."""
    names: dict[str, str]
    """Canonical name (`rnn.weight_ih_l0`) to the name in the state_dict."""
    shapes: dict[str, tuple[int, ...]]
    """By canonical name."""

    @property
    def num_layers(self) -> int:
        """Highest layer and one; whether those below are all there is the spec's to say."""
        return 1 + max(int(m[1]) for name in self.names if (m := re.search(r"_l(\d+)", name)))

    @property
    def bidirectional(self) -> bool:
        """Whether any parameter is of the reverse direction."""
        return any(name.endswith("_reverse") for name in self.names)

    @property
    def bias(self) -> bool:
        """Whether there is any bias."""
        return any(".bias_" in name for name in self.names)

    @property
    def proj_size(self) -> int:
        """Rows of the projection, 0 without."""
        return self._matrix("rnn.weight_hr_l0")[0] if "rnn.weight_hr_l0" in self.names else 0

    @property
    def hidden_size(self) -> int:
        """Columns of the projection, or without one of the recurrent weights, which multiply `h`."""
        return self._matrix("rnn.weight_hr_l0" if self.proj_size else "rnn.weight_hh_l0")[1]

    @property
    def input_size(self) -> int:
        """Columns of the first layer's input weights."""
        return self._matrix("rnn.weight_ih_l0")[1]

    @property
    def rows(self) -> int:
        """Rows of the first layer's input weights: gates x hidden size."""
        return self._matrix("rnn.weight_ih_l0")[0]

    @property
    def output_size(self) -> int:
        """Features of its output."""
        return (self.proj_size or self.hidden_size) * (2 if self.bidirectional else 1)

    @property
    def sizes(self) -> dict[str, int | bool]:
        """The fields of a spec that shapes tell."""
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "bidirectional": self.bidirectional,
            "proj_size": self.proj_size,
        }

    def cell(self, asked: Cell | None) -> Cell:
        """The cell by gates per hidden unit: 4 LSTM, 3 GRU, 1 RNN, of which `asked` says the nonlinearity.

        Raises:
            WeightsError: another number of gates, a cell that is not the one asked for, or an RNN and none asked for.
        """
        rows, hidden = self.rows, self.hidden_size
        fitting = [cell for cell in Cell if cell.num_gates * hidden == rows]
        if not fitting:
            raise WeightsError(
                f"{self.names['rnn.weight_ih_l0']}: {rows} rows are not 4 (LSTM), 3 (GRU) or 1 (RNN) times "
                f"the hidden size {hidden}"
            )
        if asked is not None and asked not in fitting:
            raise WeightsError(f"{self.prefix or 'the stack'}: is {' or '.join(fitting)} by its shapes, not {asked}")
        if asked is None and len(fitting) > 1:
            raise WeightsError(
                f"{self.prefix or 'the stack'}: is an RNN, whose weights do not tell its nonlinearity; "
                "give nonlinearity (--nonlinearity): tanh or relu"
            )
        return asked or fitting[0]

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Holds the parameters against those of the spec that was inferred from the first layer.

        Raises:
            WeightsError: a parameter is missing, too many, or of a shape that contradicts the others.
        """
        sample = self.names["rnn.weight_ih_l0"]
        missing = [name.removeprefix("rnn.") for name in expected if name not in self.names]
        if missing:
            raise WeightsError(f"{self.prefix or 'the stack'}: has {sample} but lacks {', '.join(missing)}")
        extra = [given for name, given in self.names.items() if name not in expected]
        if extra:
            raise WeightsError(f"contradict {sample} and the rest: {', '.join(extra)}")
        for name, shape in expected.items():
            if self.shapes[name] != shape:
                raise WeightsError(f"{self.names[name]}: expected shape {list(shape)}, got {list(self.shapes[name])}")

    def _matrix(self, name: str) -> tuple[int, int]:
        if name not in self.names:
            raise WeightsError(f"{self.prefix or 'the stack'}: lacks {name.removeprefix('rnn.')}")
        shape = self.shapes[name]
        if len(shape) != 2 or 0 in shape:
            raise WeightsError(f"{self.names[name]}: expected a matrix, got shape {list(shape)}")
        return shape[0], shape[1]


def find_stacks(state_dict: Mapping[str, torch.Tensor]) -> dict[str, Recurrent]:
    """All recurrent stacks by prefix, in the state_dict's order.

    Raises:
        WeightsError: two names for one parameter (`rnn.weight_ih` beside `rnn.weight_ih_l0`).
    """
    stacks: dict[str, Recurrent] = {}
    for name, tensor in state_dict.items():
        if match := _PARAMETER.fullmatch(name):
            prefix = match["prefix"] or ""
            stack = stacks.setdefault(prefix, Recurrent(prefix, {}, {}))
            _add(stack, _canonical(match), name, tensor)
    return stacks


def _canonical(match: re.Match[str]) -> str:
    return f"rnn.{match['kind']}_l{int(match['layer'] or 0)}{match['reverse'] or ''}"


def _add(stack: Recurrent, canonical: str, name: str, tensor: torch.Tensor) -> None:
    if canonical in stack.names:
        raise WeightsError(f"{stack.names[canonical]} and {name}: are one parameter by two names")
    stack.names[canonical] = name
    stack.shapes[canonical] = tuple(tensor.shape)
