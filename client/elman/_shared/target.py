"""Where the server is: what a user writes, as the target that gRPC takes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Self

from elman._shared.checks import check_header
from elman._shared.errors import InvalidInputError

DEFAULT_PORT: Final = 8470
_EXPECTED: Final = (
    'expected "host", "host:port", "[IPv6]:port", "unix:/path" or a gRPC target such as "dns:///host:port"'
)
_AS_THEY_ARE: Final = ("ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds", "google-c2p")
_LOCAL_SCHEMES: Final = ("unix", "unix-abstract")
_HOST: Final = re.compile(r"[0-9A-Za-z_.-]+")


@dataclass(frozen=True)
class Target:
    """A checked target."""

    address: str
    """What gRPC is given."""
    is_local: bool
    """Whether what is sent there does not leave this machine."""

    @classmethod
    def parse(cls, text: object) -> Self:
        """A port that is not named is the default one, 8470. Raises TypeError, InvalidInputError."""
        if not isinstance(text, str):
            raise TypeError(f"target: {_EXPECTED}, got {text!r}")
        scheme, colon, rest = text.partition(":")
        if colon and scheme in _AS_THEY_ARE and rest.strip("/"):
            return cls(text, scheme in _LOCAL_SCHEMES)
        if colon and scheme == "dns" and rest and not rest.isdecimal():
            head, slash, host = rest.rpartition("/")
            address, is_local = _host_and_port(host, text)
            return cls(f"dns:{head}{slash}{address}", is_local and head in ("", "//"))
        if scheme in ("http", "https", "grpc", "grpcs") and rest.startswith("//"):
            raise InvalidInputError(f"target: {_EXPECTED}, got {text!r}: leave {scheme}:// out; TLS is `tls=True`")
        return cls(*_host_and_port(text, text))


def check_token(token: object, target: Target, is_plain: bool, is_allowed: object) -> None:
    """A bearer token is a secret: it goes encrypted, or stays on this machine. Raises TypeError, InvalidInputError."""
    if not isinstance(token, str | None):
        raise TypeError(f"token: expected text or None, got {type(token).__name__}")
    if not isinstance(is_allowed, bool):
        raise TypeError(f"insecure_token: expected True or False, got {is_allowed!r}")
    if token is None:
        return
    if not token:
        raise InvalidInputError("token: expected a token, or None for none, got empty text")
    check_header("token", token)
    if is_plain and not target.is_local and not is_allowed:
        raise InvalidInputError(
            f"token: expected TLS, else it travels to {target.address} readable by all between: pass tls=True, or "
            "insecure_token=True where you trust the network"
        )


def _host_and_port(text: str, whole: str) -> tuple[str, bool]:
    """(host:port, whether that is this machine)."""
    host, port = _split(text)
    is_bracketed = host.startswith("[") and host.endswith("]")
    address = _ip_address(host[1:-1] if is_bracketed else host)
    if port is not None and not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise InvalidInputError(f"target: expected a port from 1 to 65535, got {port!r} in {whole!r}")
    if isinstance(address, ipaddress.IPv6Address):
        host = f"[{address}]"
    elif is_bracketed or not _HOST.fullmatch(host):
        raise InvalidInputError(f"target: {_EXPECTED}, got {whole!r}")
    is_local = address.is_loopback if address is not None else host.rstrip(".").lower() == "localhost"
    return f"{host}:{DEFAULT_PORT if port is None else port}", is_local


def _split(text: str) -> tuple[str, str | None]:
    """The host and the port's text; None if there is no colon before one."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]:")
        return (host + "]", rest) if bracket else (text, None)
    if text.count(":") > 1:
        return text, None  # a bare IPv6 address
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
