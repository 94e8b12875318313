"""`model.yaml`: a spec as text, read strictly and refused by field."""

import reprlib
from typing import Any

import yaml
from pydantic import ValidationError

from elman_models.errors import SpecError
from elman_models.spec import NAME_IN_WORDS, ModelSpec
from elman_models.strict_yaml import parse_yaml

MAX_SPEC_BYTES = 1 << 20
"""A larger `model.yaml` is a mistake, not a spec."""

_UNWRITABLE = frozenset("\x85\u2028\u2029\ufeff")
"""YAML's other line breaks and the byte order mark: PyYAML writes them bare, and reads them back as something else."""


def parse_spec(text: bytes, where: str) -> ModelSpec:
    """The spec in `text` (YAML, UTF-8); `where` names the file in errors.

    Raises:
        SpecError: not YAML, not a mapping, a key twice, or fields that are unknown, missing, of a wrong type or size,
            or contradict each other; one line per field.
    """
    if len(text) > MAX_SPEC_BYTES:
        raise SpecError(f"{where}: expected at most {MAX_SPEC_BYTES} bytes, got {len(text)}")
    fields = parse_yaml(text, where)
    if not isinstance(fields, dict):
        raise SpecError(f"{where}: expected a mapping of fields, got {_kind(fields)}")
    return make_spec(fields, where)


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
        lines = [_line(e["loc"], e["type"], e["msg"], e["input"]) for e in error.errors(include_url=False)]
        raise SpecError("\n".join(f"{where}: {line}" for line in lines)) from error


def dump_spec(spec: ModelSpec) -> bytes:
    """The text that `parse_spec` reads back as `spec`."""
    fields = spec.model_dump(mode="json", exclude_none=True)
    readable = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    if _UNWRITABLE.isdisjoint(readable):
        return readable.encode()
    return yaml.safe_dump(fields, sort_keys=False).encode()


def _line(loc: tuple[int | str, ...], kind: str, message: str, given: object) -> str:
    field = ".".join(str(part) for part in loc)
    if kind == "missing":
        return f"{field}: is missing"
    if kind == "extra_forbidden":
        return f"{field}: unknown key; known are {', '.join(ModelSpec.model_fields)}"
    if kind == "value_error":  # our own, which begin with the field
        return message.removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":  # names are the only text with a pattern
        return f"{field}: expected {NAME_IN_WORDS}, got {reprlib.repr(given)}"
    return f"{field}: {message[0].lower()}{message[1:]}, got {reprlib.repr(given)}{_hint(kind, given)}"


def _hint(kind: str, given: object) -> str:
    unquoted = kind == "string_type" and isinstance(given, int | float)
    return f'; a number is text only in quotes: "{given}"' if unquoted else ""
