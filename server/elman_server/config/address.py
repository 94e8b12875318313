"""Addresses to listen on."""

import re
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator

from elman_server.config.setting import Expected

DEFAULT_PORT = 8470
"""Of gRPC, where none is named."""
MAX_PATH_BYTES = 107
"""Linux takes no longer path for a unix socket."""


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


class UnixAddress(NamedTuple):
    """unix:PATH, a socket in the file system; as a target of gRPC it reads the same."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


def parse_address(value: object) -> Address:
    """Reads HOST:PORT.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, Address):
        return value
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+)):(\d{1,5})", str(value))
    if not match or int(match[3]) > 65535:
        raise ValueError("expected HOST:PORT with a port of at most 65535")
    return Address(match[1] or match[2], int(match[3]))


def parse_listen(value: object) -> Address | UnixAddress:
    """Reads HOST:PORT, unix:PATH or unix:///PATH.

    Raises:
        ValueError: it is something else, or the path is too long for a socket.
    """
    if isinstance(value, UnixAddress):
        return value
    text = str(value)
    if isinstance(value, Address) or not text.startswith("unix:"):
        return parse_address(value)
    path = text.removeprefix("unix://") if text.startswith("unix:///") else text.removeprefix("unix:")
    if not path or path.startswith("//") or "\0" in path or len(path.encode()) > MAX_PATH_BYTES:
        raise ValueError(f"expected unix:PATH with a path of 1 to {MAX_PATH_BYTES} bytes")
    return UnixAddress(Path(path))


def parse_target(value: object) -> str:
    """Reads HOST, HOST:PORT or unix:PATH, where a server listens, as gRPC takes it.

    Raises:
        ValueError: it is something else.
    """
    text = str(value)
    has_port = text.startswith("unix:") or re.fullmatch(r".*[^:]:\d+|\[.*\]:\d+", text)
    return str(parse_listen(text if has_port else f"{text}:{DEFAULT_PORT}"))


AddressField = Annotated[
    Address, BeforeValidator(parse_address), Expected("HOST:PORT, the port at most 65535", "HOST:PORT")
]
ListenField = Annotated[
    Address | UnixAddress,
    BeforeValidator(parse_listen),
    Expected(
        f"HOST:PORT, the port at most 65535, or unix:PATH, the path at most {MAX_PATH_BYTES} bytes",
        "HOST:PORT|unix:PATH",
    ),
]
TargetField = Annotated[
    str, BeforeValidator(parse_target), Expected("HOST, HOST:PORT or unix:PATH, the port at most 65535", "TARGET")
]
