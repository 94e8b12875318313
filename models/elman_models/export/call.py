"""One operation of an exported module as a handler sees it: its arguments by name, what of them is known."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import sympy
import torch
from torch.fx import Node

from elman_models.export.builder import Builder, Parameters
from elman_models.export.refusals import NeedsWhole, refusal
from elman_models.export.sequences import Sequences, operation_name
from elman_models.export.sizes import Size, shape_of, size_of
from elman_models.export.traced import Role, Traced, constant
from elman_models.graph.value import Per

if TYPE_CHECKING:
    from elman_models.export.translation import Translation


class Call:
    """An operation."""

    def __init__(self, translation: "Translation", node: Node) -> None:
        self.translation = translation
        self.node = node
        self.name = operation_name(node)
        self.place = translation.capture.place_of(node)
        self.arguments = self._bound()
        """By name, in the order of torch's schema."""

    @property
    def builder(self) -> Builder:
        """What nodes go to."""
        return self.translation.builder

    @property
    def sequences(self) -> Sequences:
        """The sizes that stay open."""
        return self.translation.sequences

    def _bound(self) -> dict[str, object]:
        schema = getattr(self.node.target, "_schema", None)
        if schema is None:
            return {}
        given = dict(zip((a.name for a in schema.arguments), self.node.args, strict=False)) | self.node.kwargs
        return {a.name: self._known(given.get(a.name, a.default_value)) for a in schema.arguments}

    def _known(self, value: object) -> object:
        if isinstance(value, Node):
            return self.translation.known(value)
        if isinstance(value, list | tuple):
            return [self._known(part) for part in value]
        return value

    def has(self, name: str) -> bool:
        """Whether there is such an argument, other than None."""
        return self.arguments.get(name) is not None

    def get(self, name: str) -> object:
        """An argument as it is."""
        return self.arguments[name]

    def raw(self, name: str) -> Traced:
        """A tensor, which may be one with steps to be added or taken away, or the state that a stack ends with."""
        value = self.arguments[name]
        if isinstance(value, Traced):
            return value
        if isinstance(value, bool | int | float):
            return constant(torch.tensor(value))
        if open_size(value) is not None or isinstance(value, torch.SymFloat):
            self.refuse(
                f"{self.name} with a number that depends on the batch or the length",
                ".mean over time instead of a sum divided by the length; else a number that is the same for all",
            )
        self.refuse(f"{self.name}: {name} is not a tensor that is known")

    def tensor(self, name: str) -> Traced:
        """A tensor that is a value as it stands."""
        return self.settled(self.raw(name))

    def tensors(self, name: str) -> list[Traced]:
        """Several."""
        values = self.arguments[name]
        if not isinstance(values, list) or not all(isinstance(value, Traced) for value in values):
            self.refuse(f"{self.name}: {name} is not a list of tensors that are known")
        return [self.settled(value) for value in values]

    def settled(self, given: Traced) -> Traced:
        """`given` as a value as it stands."""
        if given.end_of:
            return self.translation.ended(self, given)
        if given.before or given.after:
            self.refuse(
                f"{self.name} of a sequence with steps added before or after it",
                "pad right before a convolution over time, all on the left",
            )
        if given.surplus:
            self.refuse(
                f"{self.name} of a sequence that a padded convolution made longer",
                "take the last steps away right after the convolution, so that it looks back alone",
            )
        return given

    def raw_number(self, number: float) -> Traced:
        """A number as a constant."""
        return constant(torch.tensor(float(number)))

    def optional(self, name: str) -> Traced | None:
        """A tensor, if there is one."""
        return self.tensor(name) if self.has(name) else None

    def weight(self, name: str) -> Traced:
        """A tensor that does not depend on any input."""
        given = self.tensor(name)
        if given.constant is None or set(given.roles) - {Role.FEATURE, Role.UNIT}:
            self.refuse(f"{self.name}: {name} is computed from the input")
        return replace(given, roles=(Role.FEATURE,) * given.constant.dim())

    def weights(self, **names: str) -> dict[str, Traced]:
        """The weights that there are: the operation's names by the call's."""
        return {ours: self.weight(theirs) for theirs, ours in names.items() if self.has(theirs)}

    def integer(self, name: str) -> int:
        """A number that is known."""
        value = self.arguments[name]
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(f"{self.name}: {name} depends on the batch or the length")
        return value

    def number(self, name: str) -> float:
        """A number that is known, or a constant tensor of one."""
        value = self.arguments[name]
        if isinstance(value, Traced) and value.constant is not None and value.constant.numel() == 1:
            return float(value.constant)
        if not isinstance(value, int | float):
            self.refuse(f"{self.name}: {name} depends on the input, the batch or the length")
        return float(value)

    def flag(self, name: str) -> bool:
        """A truth that is known."""
        return bool(self.arguments[name])

    def integers(self, name: str) -> list[int]:
        """Several; one number is a list of it."""
        value = self.arguments[name]
        values = list(value) if isinstance(value, list | tuple) else [value]
        if not all(isinstance(part, int) for part in values):
            self.refuse(f"{self.name}: {name} depends on the batch or the length")
        return [part for part in values if isinstance(part, int)]

    def axis(self, given: Traced, name: str = "dim") -> int:
        """An axis of `given`, from 0."""
        return self.integer(name) % max(len(given.roles), 1)

    @property
    def shape(self) -> tuple[Size, ...]:
        """Of the result."""
        return shape_of(self.node)

    def role_of(self, size: Size) -> Role:
        """What an axis of that size is, where it is new."""
        batch, time = self.sequences.batch, self.sequences.time
        roles = {batch: Role.BATCH, time: Role.TIME}
        if isinstance(size, int):
            return Role.UNIT if size == 1 else Role.FEATURE
        if size in roles:
            return roles[size]
        self.refuse(f"{self.name}: an axis of {size}, which is neither the batch nor the length alone")

    def emit(
        self,
        op: str,
        inputs: list[Traced],
        roles: tuple[Role, ...],
        parameters: Parameters | None = None,
        weights: Mapping[str, Traced] | None = None,
        label: str = "",
    ) -> Traced:
        """A node, of whose results the first is wanted."""
        return self.emit_all(op, inputs, roles, parameters, weights, label)[0]

    def emit_all(
        self,
        op: str,
        inputs: list[Traced],
        roles: tuple[Role, ...],
        parameters: Parameters | None = None,
        weights: Mapping[str, Traced] | None = None,
        label: str = "",
    ) -> tuple[Traced, ...]:
        """A node's results."""
        self.one_time(inputs)
        try:
            return self.builder.emit_all(op, inputs, roles, parameters, weights, label, str(self.place))
        except ValueError as error:
            self.refuse(f"{self.name}: {error}")

    def one_time(self, inputs: list[Traced]) -> None:
        """Whether no step's value meets the last step's."""
        last = any(given.last_only for given in inputs)
        if last and any(given.value.per is Per.STEP and not given.last_only for given in inputs):
            self.whole("the last step's value is used together with every step's")

    @property
    def label(self) -> str:
        """The part of the module that it is in: `encoder.norm`."""
        return self.translation.capture.label_of(self.node)

    def refuse(self, what: str, instead: str = "") -> NoReturn:
        """Raises ExportError with the author's line."""
        raise refusal(self.place, what, instead)

    def whole(self, reason: str) -> None:
        """Nothing in a whole graph.

        Raises:
            NeedsWhole: in a streaming one.
        """
        if not self.builder.is_whole:
            raise NeedsWhole(reason, self.place)


def open_size(value: object) -> Size | None:
    """A symbolic number that was computed from sizes; None: it is none."""
    if isinstance(value, torch.SymInt | int) and not isinstance(value, bool):
        return size_of(value)
    return value if isinstance(value, sympy.Expr) else None
