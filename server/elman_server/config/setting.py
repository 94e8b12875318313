"""One setting: its names, what its value must be, and its help."""

import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

PREFIX = "ELMAN_"


@dataclass(frozen=True, slots=True)
class Expected:
    """Stands in a field's annotation: what a value must be, in words and in a word, where the type does not say it."""

    text: str
    metavar: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of a configuration, as it is asked for and explained."""

    name: str
    field: FieldInfo

    @property
    def flag(self) -> str:
        """Its option."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()

    @property
    def is_switch(self) -> bool:
        """Whether it is true or false; its option alone means true."""
        return self._unpacked[0] is bool

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it can have, where they are few."""
        kind, _, may_be_none = self._unpacked
        known = get_args(kind) if get_origin(kind) is Literal else ("true", "false") if kind is bool else ()
        return (*map(str, known), *(("none",) if known and may_be_none else ()))

    @property
    def metavar(self) -> str:
        """What stands for its value in help."""
        kind, constraints, _ = self._unpacked
        marked = [c.metavar for c in constraints if isinstance(c, Expected)]
        if marked or self.choices:
            return marked[0] if marked else "|".join(self.choices)
        units = {"seconds": "SECONDS", "bytes": "BYTES"}
        return units.get(self.name.rpartition("_")[2], "N" if kind in (int, float) else "TEXT")

    @property
    def expected(self) -> str:
        """What a value must be."""
        kind, constraints, may_be_none = self._unpacked
        marked = [c.text for c in constraints if isinstance(c, Expected)]
        if marked:
            text = marked[0]
        elif self.choices:
            text = " or ".join(choice for choice in self.choices if choice != "none")
        else:
            text = _number(kind, self.name, constraints) if kind in (int, float) else "text"
        return text + ", or none" * may_be_none

    @property
    def help(self) -> str:
        """What it is, what its value must be, and its default."""
        default = "required" if self.field.is_required() else f"default: {self._default}"
        return f"{self.field.description} ({self.expected}; {default})"

    @property
    def _default(self) -> str:
        value = self.field.default
        if value is None or isinstance(value, bool):
            return "none" if value is None else str(value).lower()
        if self.name.endswith("_bytes") and not value % (1 << 20):
            return f"{value}, {value >> 20} MiB"
        return f"{value:g}" if isinstance(value, float) else str(value)

    @property
    def _unpacked(self) -> tuple[Any, tuple[Any, ...], bool]:
        # The type without its wrapping, all constraints, and whether it may be none.
        kind: Any = self.field.annotation
        constraints, may_be_none = tuple(self.field.metadata), False
        while True:
            origin, arguments = get_origin(kind), get_args(kind)
            if origin is Annotated:
                kind, constraints = arguments[0], constraints + _flat(arguments[1:])
            elif origin in (Union, types.UnionType) and types.NoneType in arguments:
                may_be_none = True
                kind = Union[tuple(a for a in arguments if a is not types.NoneType)]  # noqa: UP007 - made here
            else:
                return kind, constraints, may_be_none


def _flat(marks: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(c for mark in marks for c in (mark.metadata if isinstance(mark, FieldInfo) else (mark,)))


def _number(kind: type, name: str, constraints: tuple[Any, ...]) -> str:
    units = [unit for unit in ("seconds", "bytes") if name.endswith(f"_{unit}")]
    text = ("a whole number" if kind is int else "a number") + "".join(f" of {unit}" for unit in units)
    bounds = {
        key: value for c in constraints for key in ("ge", "gt", "le") if (value := getattr(c, key, None)) is not None
    }
    if "gt" in bounds:
        return f"{text} above {bounds['gt']}" + (f", at most {bounds['le']}" if "le" in bounds else "")
    if "ge" in bounds and "le" in bounds:
        return f"{text} from {bounds['ge']} to {bounds['le']}"
    return f"{text}, at least {bounds['ge']:g}" if "ge" in bounds else text
