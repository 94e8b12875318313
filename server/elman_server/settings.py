"""Settings: one configuration out of a file, the environment and the command line, the later over the earlier."""

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from elman_server.config import Limits, ServerConfig

PREFIX = "ELMAN_"

# What Kubernetes sets in every pod for a Service named elman ("docker links compatible variables").
_KUBERNETES = re.compile(r"ELMAN_(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")


class SettingsError(Exception):
    """A setting that is unknown or wrong; the message names it and where it came from."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option for each setting, named as it is; none has a default here."""
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings, by the names of the options")
    for name, field in _fields().items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, dest=name, metavar=_metavar(name, field), help=_help(field))


def read_settings(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> ServerConfig:
    """The configuration.

    Raises:
        SettingsError: an unknown key, a bad value, a file that cannot be read.
    """
    values: dict[str, object] = {}
    file = arguments.config or environment.get(f"{PREFIX}CONFIG")
    if file:
        values |= _from_file(Path(file))
    values |= _from_environment(environment)
    values |= {name: value for name in _fields() if (value := getattr(arguments, name)) is not None}
    return _build(values)


def _fields() -> dict[str, FieldInfo]:
    own = {name: field for name, field in ServerConfig.model_fields.items() if name != "limits"}
    return own | Limits.model_fields


def _from_file(path: Path) -> dict[str, object]:
    try:
        loaded = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise SettingsError(f"{path}: expected a mapping of settings, got {type(loaded).__name__}")
    unknown = sorted(str(key) for key in loaded if key not in _fields())
    if unknown:
        raise SettingsError(f"{path}: unknown setting {', '.join(unknown)}; known: {', '.join(_fields())}")
    return {str(key): value for key, value in loaded.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in environment.items():
        name = key.removeprefix(PREFIX).lower()
        if key.startswith(PREFIX) and key != f"{PREFIX}CONFIG" and not _KUBERNETES.fullmatch(key):
            if name not in _fields():
                raise SettingsError(f"{key}: unknown setting; known: {', '.join(_fields())}")
            values[name] = value
    return values


def _build(values: Mapping[str, object]) -> ServerConfig:
    values = {name: None if value in ("none", "") else value for name, value in values.items()}
    limits = {name: value for name, value in values.items() if name in Limits.model_fields}
    own = {name: value for name, value in values.items() if name not in Limits.model_fields}
    if own.get("models") is None:
        raise SettingsError(f"models: expected a folder of bundles; give --models DIR or set {PREFIX}MODELS")
    try:
        return ServerConfig(limits=_limits(limits), **own)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error


def _limits(values: Mapping[str, object]) -> Limits:
    return Limits(**values)


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    return f"{name}: {first['msg'].removeprefix('Value error, ')}, got {first['input']!r}"


def _metavar(name: str, field: FieldInfo) -> str:
    if "listen" in name:
        return "HOST:PORT"
    return {"models": "DIR", "device": "DEVICE", "when_full": "refuse|evict"}.get(name, name.rpartition("_")[2].upper())


def _help(field: FieldInfo) -> str:
    default = "" if field.is_required() else f" (default: {'none' if field.default is None else field.default})"
    return (field.description or "").replace("%", "%%") + default
