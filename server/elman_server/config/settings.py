"""Settings: a configuration out of a file, the environment and the command line, the later over the earlier."""

import argparse
import difflib
import os
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from elman_models.errors import SpecError
from elman_models.strict_yaml import parse_yaml
from elman_server.config.server_config import ConnectionConfig, ServerConfig
from elman_server.config.setting import PREFIX, Setting

ConfigT = TypeVar("ConfigT", bound=BaseModel)

# What Kubernetes sets in every pod for a Service named elman ("docker links compatible variables").
_KUBERNETES = re.compile(r"ELMAN_(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")

_CONFIGS: tuple[type[BaseModel], ...] = (ServerConfig, ConnectionConfig)
"""A file and the environment may have the settings of all of them; each command takes its own."""


class SettingsError(Exception):
    """A setting that is unknown or wrong; the message names it, what was expected and where it came from."""


class _Given(NamedTuple):
    value: object
    source: str


def add_options(
    parser: argparse.ArgumentParser,
    config: type[BaseModel] = ServerConfig,
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """One option for each setting, named as it is; none has a default here. `aliases`: second names of options."""
    text = "Each also reads from a file (max_rows) and from the environment (ELMAN_MAX_ROWS); the later of these wins."
    group = parser.add_argument_group("settings", text)
    text = f"YAML file of settings, by the names of the options (default: {PREFIX}CONFIG's, or none)"
    group.add_argument("--config", metavar="FILE", help=text)
    for setting in settings_of(config).values():
        option = group.add_argument(
            *(setting.flag, *(alias for name, alias in aliases.items() if name == setting.name)),
            dest=setting.name,
            metavar=setting.metavar,
            help=setting.help.replace("%", "%%"),
            nargs="?" if setting.is_switch else None,
            const="true" if setting.is_switch else None,
        )
        if setting.choices:  # which argcomplete looks for there
            setattr(option, "completer", lambda choices=setting.choices, **_: choices)  # noqa: B010 - argparse has none


def read_settings(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> ServerConfig:
    """The server's configuration. Raises as `read_config`."""
    return read_config(ServerConfig, arguments, environment)


def read_config(
    config: type[ConfigT], arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> ConfigT:
    """A configuration.

    Raises:
        SettingsError: an unknown key, a bad value, a file that cannot be read.
    """
    given: dict[str, _Given] = {}
    file = arguments.config or environment.get(f"{PREFIX}CONFIG")
    if file:
        given |= _from_file(Path(file))
    given |= _from_environment(environment)
    for name, setting in settings_of(config).items():
        if (value := getattr(arguments, name)) is not None:
            given[name] = _Given(value, setting.flag)
    return _build(config, given)


def settings_of(config: type[BaseModel]) -> dict[str, Setting]:
    """All settings of a configuration by name, those of its components among them."""
    return {setting.name: setting for setting in _flat(config)}


def _flat(config: type[BaseModel]) -> Iterator[Setting]:
    for name, field in config.model_fields.items():
        component = _component(field.annotation)
        if component:
            yield from _flat(component)
        else:
            yield Setting(name, field)


def _component(annotation: Any) -> type[BaseModel] | None:
    is_one = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_one else None


def _known() -> dict[str, Setting]:
    return {name: setting for config in _CONFIGS for name, setting in settings_of(config).items()}


def _from_file(path: Path) -> dict[str, _Given]:
    try:
        loaded = parse_yaml(path.read_bytes(), str(path))
    except (OSError, SpecError) as error:
        text = f"{path}: cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise SettingsError(text) from error
    if loaded is not None and not isinstance(loaded, dict):
        raise SettingsError(f"{path}: expected a mapping of settings, got {type(loaded).__name__}")
    for name in loaded or {}:
        if name not in _known():
            raise SettingsError(f"{path}: unknown setting {name}{_hint(str(name), _known())}")
    return {name: _Given(value, str(path)) for name, value in (loaded or {}).items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for key, value in environment.items():
        if key.startswith(PREFIX) and key != f"{PREFIX}CONFIG" and not _KUBERNETES.fullmatch(key):
            name = key.removeprefix(PREFIX).lower()
            if name not in _known():
                raise SettingsError(f"{key}: unknown setting{_hint(name, _known())}")
            given[name] = _Given(value, key)
    return given


def _hint(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def _build(config: type[ConfigT], given: Mapping[str, _Given]) -> ConfigT:
    settings = settings_of(config)
    given = {name: value for name, value in given.items() if name in settings}
    for name, setting in settings.items():
        if setting.field.is_required() and name not in given:
            raise SettingsError(f"{name}: expected {setting.expected}; give {setting.flag} or set {setting.variable}")
    for name, (value, source) in given.items():
        # To pydantic true is 1, and to Path nothing is the folder that one is in.
        if value == "" or (isinstance(value, bool) and not settings[name].is_switch):
            raise SettingsError(_refusal(settings[name], value, source))
    try:
        return _made(config, {name: None if value == "none" else value for name, (value, _) in given.items()})
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise SettingsError(_refusal(settings[name], *given[name])) from error


def _made(config: type[ConfigT], values: Mapping[str, object]) -> ConfigT:
    fields: dict[str, object] = {}
    for name, field in config.model_fields.items():
        component = _component(field.annotation)
        if component:
            fields[name] = _made(component, values)
        elif name in values:
            fields[name] = values[name]
    return config(**fields)


def _refusal(setting: Setting, value: object, source: str) -> str:
    return f"{setting.name}: expected {setting.expected}, got {reprlib.repr(value)} ({source})"
