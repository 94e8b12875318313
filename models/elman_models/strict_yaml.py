"""YAML read strictly: plain data only, and no key twice."""

from collections.abc import Hashable
from typing import Any

import yaml

from elman_models.errors import SpecError

# PyYAML lets what its own constructors trip over (`!!bool x`, `!!timestamp x`, deep nesting) through as it is.
_YAML_ERRORS = (
    yaml.YAMLError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    TypeError,
    RecursionError,
)


_MAX_DEPTH = 100
"""Of brackets."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which makes plain data only; a key that stands twice is refused, not overwritten."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Lists and mappings in brackets: each within another makes reading slower, so many end it."""
        super().fetch_flow_collection_start(token)
        if self.flow_level > _MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, f"more than {_MAX_DEPTH} within each other", self.get_mark())

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value}: stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def parse_yaml(text: bytes, where: str) -> Any:
    """What `text` (YAML, UTF-8) says; `where` names the file in errors.

    Raises:
        SpecError: not YAML, or a key twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except _YAML_ERRORS as error:
        raise SpecError(f"{where}: cannot be read as YAML: {' '.join(str(error).split())}") from error
