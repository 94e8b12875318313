"""Arguments and shapes of a .pt2 file's JSON as plain values; whatever is of another form is refused."""

import re
from collections.abc import Callable, Mapping
from math import inf

import torch

from elman_models.export.refusals import ExportError
from elman_models.from_pt2.program import Ref, Shape
from elman_models.from_pt2.stored_tensors import MAX_AXES, STRIDED, dtype_of, wider
from elman_models.spec import MAX_SIZE

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_FLOATS = {"Infinity": inf, "-Infinity": -inf}
_FORMATS = {1: torch.contiguous_format, 4: torch.preserve_format}
_MAX_PARTS = 1 << 12
_MAX_DEPTH = 3


def name_of(given: object, where: str) -> str:
    """A value's.

    Raises:
        ExportError: no name.
    """
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise ExportError(f"{where}: expected the name of a value, got {shown(given)}")
    return given


def shown(given: object) -> str:
    """What came instead of what was expected: a short piece of it, without what a terminal would obey."""
    text = repr(given)[:80]
    return text if text.isprintable() else ascii(text)


def only_entry(given: object, where: str) -> tuple[str, object]:
    """Of a mapping of one: its key and value.

    Raises:
        ExportError: it is none.
    """
    if not isinstance(given, Mapping) or len(given) != 1:
        raise ExportError(f"{where}: expected a mapping of one entry, got {shown(given)}")
    (key, value), *_ = given.items()
    return str(key), value


def argument(given: object, where: str, depth: int = 0) -> object:
    """One of an operation.

    Raises:
        ExportError: of a kind that no operation of a graph takes (a part of a graph, an object), or none at all.
    """
    kind, value = only_entry(given, where)
    if kind in _KINDS:
        return _KINDS[kind](value, where)
    if kind in _LISTS and depth < _MAX_DEPTH:
        if not isinstance(value, list) or len(value) > _MAX_PARTS:
            raise ExportError(f"{where}: expected a list of at most {_MAX_PARTS}, got {shown(value)}")
        return [argument(part if _LISTS[kind] == "" else {_LISTS[kind]: part}, where, depth + 1) for part in value]
    raise ExportError(f"{where}: an argument of the kind {shown(kind)}, which is not known")


def _integer(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 63) <= value < 1 << 63:
        raise ExportError(f"{where}: expected a whole number, got {shown(value)}")
    return value


def _float(value: object, where: str) -> float:
    value = _FLOATS.get(value, value) if isinstance(value, str) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # NaN is not equal to itself
        raise ExportError(f"{where}: expected a number, got {shown(value)}")
    return float(value)


def _bool(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise ExportError(f"{where}: expected true or false, got {shown(value)}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise ExportError(f"{where}: expected a text, got {shown(value)}")
    return value


def _tensor(value: object, where: str) -> Ref:
    return Ref(name_of(value.get("name") if isinstance(value, Mapping) else value, where))


def _symbolic(value: object, where: str) -> object:
    kind, inner = only_entry(value, where)
    return Ref(name_of(inner, where)) if kind == "as_name" else argument(value, where, _MAX_DEPTH)


def _format(value: object, where: str) -> torch.memory_format:
    if not isinstance(value, int) or value not in _FORMATS:
        raise ExportError(f"{where}: a layout of numbers in memory that is not known, {shown(value)}")
    return _FORMATS[value]


def _layout(value: object, where: str) -> torch.layout:
    if value != STRIDED:
        raise ExportError(f"{where}: expected a plain (strided) tensor, got torch's layout {shown(value)}")
    return torch.strided


_KINDS: Mapping[str, Callable[[object, str], object]] = {
    "as_none": lambda value, where: None,
    "as_tensor": _tensor,
    "as_optional_tensor": lambda value, where: argument(value, where, _MAX_DEPTH),
    "as_int": _integer,
    "as_float": _float,
    "as_bool": _bool,
    "as_string": _text,
    "as_sym_int": _symbolic,
    "as_sym_float": _symbolic,
    "as_sym_bool": _symbolic,
    "as_scalar_type": lambda value, where: wider(dtype_of(value, where)),
    "as_memory_format": _format,
    "as_layout": _layout,
    "as_device": lambda value, where: torch.device("cpu"),
}
_LISTS = {
    "as_tensors": "as_tensor",
    "as_ints": "as_int",
    "as_floats": "as_float",
    "as_bools": "as_bool",
    "as_strings": "as_string",
    "as_sym_ints": "as_sym_int",
    "as_sym_floats": "as_sym_float",
    "as_sym_bools": "as_sym_bool",
    "as_optional_tensors": "",
    "as_int_lists": "as_ints",
    "as_float_lists": "as_floats",
}
"""By the kind of a list that of its parts; empty: each says its own."""


def shape_of(given: object, where: str) -> Shape:
    """Of a tensor of the graph.

    Raises:
        ExportError: no shape, or sizes that cannot be.
    """
    sizes = given.get("sizes") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(sizes, list) or len(sizes) > MAX_AXES:
        raise ExportError(f"{where}: expected a shape of at most {MAX_AXES} axes, got {shown(given)}")
    parts = [_size(size, where) for size in sizes]
    dtype = wider(dtype_of(given.get("dtype"), where))
    return Shape(tuple(size for size, _ in parts), tuple(symbol for _, symbol in parts), dtype)


def _size(given: object, where: str) -> tuple[int, str]:
    kind, value = only_entry(given, where)
    symbol = ""
    if kind == "as_expr" and isinstance(value, Mapping):
        symbol = _text(value.get("expr_str"), where)
        kind, value = only_entry(value.get("hint"), f"{where}: a size that is open, in the example")
    if kind != "as_int":
        raise ExportError(f"{where}: expected a size, got {shown(given)}")
    size = _integer(value, where)
    if not 0 <= size <= MAX_SIZE << 12:
        raise ExportError(f"{where}: expected sizes up to {MAX_SIZE << 12}, got {size}")
    return size, symbol
