"""`model.yaml`: a spec as text, read strictly and refused by field. Format 1 is a stack, format 2 a graph."""

import reprlib
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from elman_models.errors import SpecError
from elman_models.graph.spec import FORMAT, GraphSpec
from elman_models.spec import NAME_IN_WORDS, ModelSpec
from elman_models.strict_yaml import parse_yaml

MAX_SPEC_BYTES = 1 << 20
"""A larger `model.yaml` is a mistake, not a spec."""

_UNWRITABLE = frozenset("\x85\u2028\u2029\ufeff")
"""YAML's other line breaks and the byte order mark: PyYAML writes them bare, and reads them back as something else."""
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
"""What was given, in errors: lists within lists, which YAML's aliases make of a few bytes, are cut off."""
MAX_LINES = 20
"""Of an error: what is wrong with more fields than that is counted."""
_WIDTH = 120
"""Of a line of a graph's file."""


def parse_spec(text: bytes, where: str) -> ModelSpec:
    """The spec of format 1 in `text` (YAML, UTF-8); `where` names the file in errors.

    Raises:
        SpecError: not YAML, not a mapping, a key twice, or fields that are unknown, missing, of a wrong type or size,
            or contradict each other; one line per field. Or it is of format 2.
    """
    spec = parse_any_spec(text, where)
    if isinstance(spec, GraphSpec):
        raise SpecError(
            f"{where}: format: expected 1, a stack with embedding and head, got 2, a graph, which `read_any_spec` reads"
        )
    return spec


def parse_any_spec(text: bytes, where: str) -> ModelSpec | GraphSpec:
    """The spec in `text` (YAML, UTF-8), of the format that it says; where it says none, of format 1.

    Raises:
        SpecError: as `parse_spec`; or another format.
    """
    if len(text) > MAX_SPEC_BYTES:
        raise SpecError(f"{where}: expected at most {MAX_SPEC_BYTES} bytes, got {len(text)}")
    fields = parse_yaml(text, where)
    if not isinstance(fields, dict):
        raise SpecError(f"{where}: expected a mapping of fields, got {_kind(fields)}")
    given = fields.get("format", 1)
    if type(given) is not int or given not in (1, FORMAT):
        raise SpecError(f"{where}: format: expected 1 or {FORMAT}, got {_SHORT.repr(given)}")
    if given == FORMAT:
        return make_graph(fields, where)
    return make_spec({name: value for name, value in fields.items() if name != "format"}, where)


def _kind(given: object) -> str:
    return "nothing" if given is None else type(given).__name__


def make_spec(fields: dict[str, Any], where: str) -> ModelSpec:
    """The spec of unchecked `fields`.

    Raises:
        SpecError: one line `where: field: what is wrong` per field.
    """
    try:
        return ModelSpec.model_validate(fields)
    except ValidationError as error:
        raise _spec_error(error, ModelSpec, where) from error


def make_graph(fields: dict[str, Any], where: str) -> GraphSpec:
    """The graph of unchecked `fields`.

    Raises:
        SpecError: as `make_spec`; of what contradicts itself the first.
    """
    try:
        return GraphSpec.model_validate(fields)
    except ValidationError as error:
        raise _spec_error(error, GraphSpec, where) from error


def dump_spec(spec: ModelSpec | GraphSpec) -> bytes:
    """The text that `parse_any_spec` reads back as `spec`."""
    if isinstance(spec, GraphSpec):
        fields = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        fields = {"format": FORMAT, "name": spec.name, "kind": spec.kind.value} | fields
        style: bool | None = None  # what has no parts within parts stands on one line
    else:
        fields, style = spec.model_dump(mode="json", exclude_none=True), False
    readable = _as_yaml(fields, style, allow_unicode=True)
    return (readable if _UNWRITABLE.isdisjoint(readable) else _as_yaml(fields, style, allow_unicode=False)).encode()


def _as_yaml(fields: dict[str, Any], style: bool | None, *, allow_unicode: bool) -> str:
    width = 80 if style is False else _WIDTH
    text: str = yaml.safe_dump(
        fields, sort_keys=False, allow_unicode=allow_unicode, default_flow_style=style, width=width
    )
    return text


def _spec_error(error: ValidationError, model: type[BaseModel], where: str) -> SpecError:
    found = error.errors(include_url=False)
    lines = [_line(model, e["loc"], e["type"], e["msg"], e["input"]) for e in found[:MAX_LINES]]
    if len(found) > MAX_LINES:
        lines.append(f"and {len(found) - MAX_LINES} faults more")
    return SpecError("\n".join(f"{where}: {line}" for line in lines))


def _line(model: type[BaseModel], loc: tuple[int | str, ...], kind: str, message: str, given: object) -> str:
    field = ".".join(str(part) for part in loc)
    if kind == "missing":
        return f"{field}: is missing"
    if kind == "extra_forbidden":
        return f"{field}: unknown key" + (f"; known are {', '.join(model.model_fields)}" if len(loc) == 1 else "")
    if kind == "value_error":  # our own, which begin with the field
        return message.removeprefix("Value error, ")
    if kind == "string_pattern_mismatch" and (loc[-1] in ("name", "version") and len(loc) == 1):
        return f"{field}: expected {NAME_IN_WORDS}, got {_SHORT.repr(given)}"
    return f"{field}: {message[0].lower()}{message[1:]}, got {_SHORT.repr(given)}{_hint(kind, given)}"


def _hint(kind: str, given: object) -> str:
    unquoted = kind == "string_type" and isinstance(given, int | float)
    return f'; a number is text only in quotes: "{given}"' if unquoted else ""
