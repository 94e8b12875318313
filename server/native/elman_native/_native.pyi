"""gRPC's C++ server inside the Python process."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Event = tuple[int, int, Any]
"""A call's number, the kind of event (event.h), and what comes with it."""
Sent = tuple[int, int, int]
"""A caller's number; rows whose answers were written to it, or never will be; bytes of their tensors."""

class FrameBatch:
    """Frames of one row each that came together: K of them, in the order in which they came."""

    def __len__(self) -> int:
        """K."""

    def columns(self) -> dict[str, Array]:
        """[K] columns, by the names in frame_batch.h; the batch goes on owning them."""

    def message(self, row: int) -> bytes:
        """One frame as it came."""

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Copies the tensors' data of frames `rows` [n] into `out` [n, num_bytes].

        Raises:
            ValueError: a frame is not there or has another number of bytes.
        """

class Door:
    """The listening port, and every call that comes to it. A call is known by its number; one that is over takes
    nothing and harms nobody."""

    def __init__(self, options: dict[str, int], server_instance: str) -> None:
        """`options`: gRPC's channel arguments. `server_instance`: this process's name; frames for another one are
        handed over as messages."""

    def add_port(self, address: str) -> None:
        """Listens at HOST:PORT or unix:PATH once started."""

    def add_secure_port(
        self, address: str, private_key: str, certificate_chain: str, client_ca: str, refresh_seconds: int
    ) -> None:
        """The same by TLS, with PEM files of these paths, which are looked at that often and read again as they change.
        Where they are not good, callers are refused. `client_ca`: empty, or who must have signed callers' certificates.
        """

    def start(self) -> list[int]:
        """Begins to serve; the port of each address, 0 for a path.

        Raises:
            RuntimeError: it cannot listen.
        """

    def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, cancels those that have not ended by then, and returns when all are over. Blocks,
        without the interpreter's lock."""

    @property
    def num_calls(self) -> int:
        """Calls that are not over."""

    @property
    def num_callers(self) -> int:
        """Callers that were added and not removed."""

    def fileno(self) -> int:
        """Readable while there is something for `take_all`."""

    def take_all(self) -> list[Event]:
        """What has happened since it was last asked, in order: to calls that were not handed over, and all calls'
        ends."""

    def streams_fileno(self) -> int:
        """Readable while there is something for `take_streams`."""

    def take_streams(self) -> tuple[list[Event], list[Sent]]:
        """What has happened since it was last asked, in order, to the calls that were handed over; and what was
        written. On another thread than `take_all`, if you like."""

    def hand_over(self, call: int) -> bool:
        """From now on the call's events are those of `take_streams`; False if it is over."""

    def receive(self, call: int) -> None:
        """Reads one message."""

    def send(self, call: int, message: bytes) -> None:
        """Writes a message."""

    def finish(
        self,
        call: int,
        code: int,
        details: str,
        trailing: Sequence[tuple[str, str | bytes]],
        message: bytes | None,
    ) -> None:
        """Ends a call with a status of that gRPC code, after what is being written and a last message, if any."""

    def begin_frames(self, call: int, caller: int, single_rows: bool = True) -> None:
        """From now on the call's messages are read as they come, as long as the caller has room: as they are, or, with
        `single_rows`, frames of one row into batches. Of other frames every handle counts as a row, of any other
        message it counts as one.

        Raises:
            ValueError: there is no such caller.
        """

    def answer(
        self,
        *,
        call: NDArray[np.uint64],
        caller: NDArray[np.int64],
        frame_id: NDArray[np.uint64],
        start: NDArray[np.int64],
        length: NDArray[np.int64],
        finished: NDArray[np.bool_],
        position: NDArray[np.int64],
        num_bytes: NDArray[np.int64],
        output: NDArray[np.float32] | None,
        is_last: bool,
        h_n: NDArray[np.float32] | None,
        c_n: NDArray[np.float32] | None,
    ) -> None:
        """Answers frames of one row: [n] columns, longest first. `output` is packed, [sum(length), output_size], or
        with `is_last` [finished rows, output_size]; the states are [num_layers, finished rows, size].

        Raises:
            ValueError: a column or a tensor has another shape.
        """

    def answer_frame(self, call: int, caller: int, message: bytes, num_rows: int, num_bytes: int) -> None:
        """Answers one frame of one row with a message."""

    def uncount_frame(self, call: int) -> None:
        """A frame of one row is answered by `send`."""

    def tell_idle(self, call: int) -> None:
        """Asks to be told once every frame of one row is answered and everything written."""

    def add_caller(self, room: int) -> int:
        """One more whom limits count, and how many rows may be read from it; its number."""

    def remove_caller(self, caller: int) -> None:
        """It has no calls any more."""

    def set_room(self, caller: int, room: int, num_taken: int) -> None:
        """`num_taken` more rows of its calls are taken in, and `room` more may come: read, and not taken in yet; the
        last message that is read may go beyond. With 0, what is written to it wakes the loop."""
