"""HTTP/2 written by hand, for what no client of gRPC would send."""

import asyncio
import struct
from dataclasses import dataclass
from types import TracebackType

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, END_HEADERS = 1, 4
CANCEL = 8


def http2_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame; a stream's number is odd where its client has opened it."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


HELLO = PREFACE + http2_frame(SETTINGS, 0, 0)
"""With which a connection begins."""


def opening(stream: int, path: str) -> bytes:
    """Opens a call."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "here"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )
    return http2_frame(HEADERS, END_HEADERS, stream, b"".join(_literal(*field) for field in fields))


def _literal(name: str, value: str) -> bytes:
    # HPACK: a literal that is not put into the table.
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def message(stream: int, data: bytes, *, length: int | None = None) -> bytes:
    """A message of a call, one of a few KiB; `length`: what it says of itself, if that is not so."""
    return http2_frame(DATA, 0, stream, struct.pack(">BI", 0, len(data) if length is None else length) + data)


def reset(stream: int) -> bytes:
    """Ends a call at once."""
    return http2_frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))


@dataclass
class Wire:
    """A connection to a port of this machine; what comes back is read and forgotten."""

    port: int

    async def __aenter__(self) -> "Wire":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._reading = asyncio.create_task(self._forget())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.transport.abort()
        await self._reading

    async def write(self, data: bytes) -> None:
        """Writes; that the other end closed meanwhile is fine."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            pass

    async def closed(self) -> None:
        """Returns once the other end has closed."""
        await asyncio.shield(self._reading)

    async def _forget(self) -> None:
        try:
            while await self._reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
