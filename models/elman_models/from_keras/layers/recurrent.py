"""LSTM, GRU and SimpleRNN as torch's modules, in one direction or both; a GRU with `reset_after=False` as ours.

Keras: `keras/src/layers/rnn/lstm.py` (gates i, f, c, o, as torch has them), `gru.py` (z, r, h; torch: r, z, n),
`simple_rnn.py`. One bias, as all but a GRU with `reset_after=True` have
it, is torch's bias_ih, with a bias_hh of zeros.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from elman_models.export.reset_before import ResetBeforeGRU
from elman_models.from_keras.layers.dense import inner_layer
from elman_models.from_keras.layers.registry import Building, builds
from elman_models.from_keras.weights import LayerWeights

RECURRENT = ("LSTM", "GRU", "SimpleRNN")
_GATES = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "SimpleRNN": (0,)}
"""Of each of torch's gates, which of Keras's it is."""
Ending = Callable[[], torch.Tensor]
_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def check(building: Building, *, is_backward: bool = False) -> None:
    """Whether torch has that recurrence.

    Raises:
        ExportError: another activation than torch's, or read backwards.
    """
    kind = building.layer.kind
    building.only("activation", *(("tanh", "relu") if kind == "SimpleRNN" else ("tanh",)))
    if kind != "SimpleRNN":
        building.only("recurrent_activation", "sigmoid")
    if building.flag("go_backwards", False) != is_backward:
        raise building.layer.refuse("go_backwards: it begins at the sequence's end", "a Bidirectional layer")
    if kind == "GRU" and "reset_after" not in building.layer.config:
        building.notes.append(f"{building.layer}: reset_after: is not said, so it is False, as before Keras had it")
    if building.flag("time_major", False):
        raise building.layer.refuse("time_major: expected [batch, time, features]")
    if building.flag("stateful", False):
        building.notes.append(f"{building.layer}: stateful: its state is a session's, which begins at zeros")


def resets_after(building: Building) -> bool:
    """Whether a GRU has its reset gate after the product: files from before Keras could do so do not say."""
    return building.flag("reset_after", False)


def read(building: Building, own: LayerWeights) -> tuple[torch.Tensor, ...]:
    """weight_ih [gates x units, in], weight_hh [gates x units, units], and where it has a bias bias_ih, bias_hh."""
    kind, units = building.layer.kind, building.integer("units")
    order = _GATES[kind]
    wide = len(order) * units
    found = [own.take("kernel", None, wide).t(), own.take("recurrent_kernel", units, wide).t()]
    if building.flag("use_bias", True):
        if kind == "GRU" and resets_after(building):
            found += list(own.take("bias", 2, wide))
        else:
            bias = own.take("bias", wide)
            found += [bias, torch.zeros_like(bias)]
    return tuple(torch.cat([torch.split(part, units)[gate] for gate in order]).contiguous() for part in found)


class Recurrent(nn.Module):
    """[B, T, in] to [B, T, units], or of the last step [B, units]; with `return_state` what it ends with, too."""

    def __init__(self, building: Building, weights: list[tuple[torch.Tensor, ...]], merge: str = "concat") -> None:
        """`weights` of one direction, or of both."""
        super().__init__()
        layer = building.layer
        self._sequences = building.flag("return_sequences", False)
        self._states = building.flag("return_state", False)
        self._merge = merge
        gru = nn.GRU if resets_after(building) else ResetBeforeGRU
        kind = {"LSTM": nn.LSTM, "GRU": gru, "SimpleRNN": nn.RNN}[layer.kind]
        more = {"nonlinearity": str(layer.config.get("activation", "tanh"))} if layer.kind == "SimpleRNN" else {}
        self.rnn = kind(
            weights[0][0].shape[1],
            building.integer("units"),
            bias=len(weights[0]) > 2,
            bidirectional=len(weights) > 1,
            batch_first=True,
            **more,
        )
        named = [
            {f"{name}_l0{suffix}": tensor for name, tensor in zip(_NAMES, own, strict=False)}
            for own, suffix in zip(weights, ("", "_reverse"), strict=False)
        ]
        self.rnn.load_state_dict({name: tensor for one in named for name, tensor in one.items()})

    def forward(self, given: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor | Ending, ...]:
        """The output; with `return_state` also what it ends with, each to be called for, since a stream has not all."""
        output, ends = self.rnn(given)
        ends = ends if isinstance(ends, tuple) else (ends,)
        if self.rnn.bidirectional:
            size = self.rnn.hidden_size
            forth, back = (output[..., :size], output[..., size:]) if self._sequences else ends[0].unbind(0)
            return output if self._sequences and self._merge == "concat" else merged(self._merge, forth, back)
        result: torch.Tensor = output if self._sequences else output[:, -1]
        return (result, *(partial(torch.squeeze, end, 0) for end in ends)) if self._states else result


def merged(how: str, forth: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Both directions as one."""
    if how == "concat":
        return torch.cat([forth, back], -1)
    if how == "mul":
        return forth * back
    return forth + back if how == "sum" else (forth + back) / 2


@builds(*RECURRENT)
def _recurrent(building: Building) -> nn.Module:
    check(building)
    own = building.own("cell")
    weights = read(building, own)
    own.end()
    return Recurrent(building, [weights])


@builds("Bidirectional")
def _bidirectional(building: Building) -> nn.Module:
    building.only("merge_mode", "concat", "sum", "mul", "ave")
    forth = inner_layer(building, "layer")
    has_own = isinstance(building.layer.config.get("backward_layer"), dict)
    back = inner_layer(building, "backward_layer") if has_own else forth
    ways = [Building(one, building.weights, building.is_legacy, building.notes) for one in (forth, back)]
    if forth.kind not in RECURRENT or back.kind != forth.kind:
        raise building.layer.refuse(f"of {forth.kind} and {back.kind}: expected one of {', '.join(RECURRENT)} for both")
    for name in ("units", "use_bias", "return_sequences", "return_state", "activation", "reset_after"):
        if forth.config.get(name) != back.config.get(name):
            raise building.layer.refuse(f"{name} differs between the directions")
    if ways[0].flag("return_state", False):
        raise building.layer.refuse("return_state")
    for way, is_backward in zip(ways, (False, has_own), strict=True):
        check(way, is_backward=is_backward)
    own = building.own("forward_layer/cell", "backward_layer/cell")
    weights = [read(way, own) for way in ways]
    own.end()
    return Recurrent(ways[0], weights, str(building.layer.config.get("merge_mode", "concat")))
