"""The address that gRPC is served at: bound, explained where it cannot be, and given back."""

import socket
from collections.abc import Callable

from elman_server.config.address import Address, UnixAddress
from elman_server.door.rpc.socket_file import SocketFile


class PortInUseError(Exception):
    """An address that cannot be listened on."""


class Listener:
    """One address of a server's."""

    def __init__(self, address: Address | UnixAddress, socket_permissions: int) -> None:
        """`socket_permissions`: the mode of the file, where the address is a unix socket."""
        self._address = address
        self._file = SocketFile(address.path, socket_permissions) if isinstance(address, UnixAddress) else None

    def bind(self, add_port: Callable[[str], int]) -> str:
        """Has `add_port` listen; the address as callers write it, with what port 0 became.

        Raises:
            PortInUseError: it cannot; the message says why.
        """
        address = self._address
        try:
            if isinstance(address, Address):
                return str(address.with_port(add_port(str(address))))
            self._bind_file(add_port)
            return str(address)
        except OSError as error:
            raise PortInUseError(f"cannot listen on {address}: {_reason(address, error)}") from error

    def release(self) -> None:
        """Removes the socket's file, where it is one."""
        if self._file:
            self._file.remove()

    def _bind_file(self, add_port: Callable[[str], int]) -> None:
        if self._file:
            with self._file.made():
                add_port(str(self._address))


def _reason(address: Address | UnixAddress, error: OSError) -> str:
    # gRPC tells only that it cannot.
    if isinstance(address, UnixAddress):
        return error.strerror or str(error)
    try:
        ((family, *_, at), *_) = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(at)
    except OSError as cause:
        return cause.strerror or str(cause)
    return "is the port in use?"
