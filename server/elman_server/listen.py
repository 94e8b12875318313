"""Addresses to listen on."""

import re
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator


class Address(NamedTuple):
    """HOST:PORT; an IPv6 host stands in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def with_port(self, port: int) -> "Address":
        """The same host: what port 0 became."""
        return self._replace(port=port)


def parse_address(value: object) -> Address:
    """Reads HOST:PORT.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, Address):
        return value
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+)):(\d{1,5})", str(value))
    if not match or int(match[3]) > 65535:
        raise ValueError(f"expected HOST:PORT with a port of at most 65535, got {str(value)!r}")
    return Address(match[1] or match[2], int(match[3]))


AddressField = Annotated[Address, BeforeValidator(parse_address)]
