"""Which door serves: the native one where it is installed, else the plain one."""

from importlib.util import find_spec
from typing import Literal, NamedTuple

from elman_server.door.native.server import NativeTransport
from elman_server.door.plain import PlainTransport
from elman_server.door.rpc.call import Transport
from elman_server.door.rpc.channel_options import Options

Door = Literal["auto", "native", "plain"]


class Choice(NamedTuple):
    """A door, and why it is this one."""

    name: Literal["native", "plain"]
    reason: str


def choose(door: Door) -> Choice:
    """The door that serves.

    Raises:
        ValueError: the native one was asked for and is not installed.
    """
    is_installed = find_spec("elman_native") is not None
    if door == "native" and not is_installed:
        raise ValueError("door: native was asked for, and elman-native is not installed (see server/native/README.md)")
    if door == "plain":
        return Choice("plain", "as asked for")
    if is_installed:
        return Choice("native", "as asked for" if door == "native" else "elman-native is installed")
    return Choice("plain", "elman-native is not installed; it is faster")


def make_transport(choice: Choice, options: Options, server_instance: str = "") -> Transport:
    """A server of that kind, on the running event loop. `options`: gRPC's channel arguments.
    `server_instance`: this process's name."""
    return NativeTransport(options, server_instance) if choice.name == "native" else PlainTransport(options)
