"""Messages back into the domain's words: the server's `writing.py` and `status.py`, backwards."""

from typing import Any

import grpc
import numpy as np
import torch
from expected_sessions import Received
from google.rpc import status_pb2
from numpy.typing import NDArray
from refusals import Refusal
from toys import unpack_rows

from elman import wire
from elman_server import errors as e
from elman_server.door.elman_v1.status import code_of
from elman_server.exchange.answers import Answer
from elman_server.exchange.session_calls.calls import SessionView

_ERRORS = {kind.reason: kind for kind in e.ServiceError.__subclasses__()}


def error_of(status: Any) -> e.ServiceError:
    """The error that was sent as a status."""
    refusal = Refusal.of(status)
    error = _ERRORS[refusal.reason](refusal.message, metadata=refusal.says, retry_seconds=refusal.retry_seconds)
    assert code_of(error).name == refusal.code
    return error


def error_of_call(error: grpc.aio.AioRpcError) -> e.ServiceError:
    """The error that a call ended with."""
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
    return error_of(status_pb2.Status.FromString(trailers["grpc-status-details-bin"]))


def errors_of(response: Any) -> dict[int, e.ServiceError]:
    """Those of single ids, by index."""
    return {error.index: error_of(error.status) for error in response.errors}


def answer_of(result: Any) -> Answer:
    """A result of `Step`."""
    return Answer(
        rows=_indices(result.rows) if result.rows else None,
        starts=_indices(result.starts) if result.starts else None,
        lengths=_indices(result.lengths),
        output=array_of(result, "output"),
        finished=_indices(result.finished),
        positions=_indices(result.positions),
        states=states_of(result),
        errors=tuple((error.row, error_of(error.status)) for error in result.errors),
        frame_error=error_of(result.frame_error) if result.HasField("frame_error") else None,
    )


def states_of(message: Any) -> tuple[np.ndarray, ...]:
    """h_n and c_n, as far as they came."""
    arrays = (array_of(message, "h_n"), array_of(message, "c_n"))
    return tuple(array for array in arrays if array is not None)


def session_view_of(response: Any) -> SessionView:
    """A session as described, with its state if that came."""
    session = response.session
    return SessionView(
        model=session.model,
        version=session.version,
        session_id=session.session_id,
        position=session.position,
        admitted=session.admitted,
        created=session.create_time.ToNanoseconds() / 1e9,
        used=session.use_time.ToNanoseconds() / 1e9,
        expires=session.expire_time.ToNanoseconds() / 1e9 if session.HasField("expire_time") else None,
        states=states_of(response) or None,
    )


def received_of_infer(response: Any, request: Any) -> list[Received]:
    """What each row of a whole answer is."""
    output, h, c = (array_of(response, name) for name in ("output", "h_n", "c_n"))
    assert output is not None
    assert h is not None
    return [
        Received(
            steps=list(steps),
            lengths=len(steps),
            position=len(steps),
            h_n=h[:, row],
            c_n=None if c is None else c[:, row],
        )
        for row, steps in enumerate(unpack_rows(output, list(request.lengths)))
    ]


def received_of_error(error: grpc.aio.AioRpcError, request: Any) -> list[Received]:
    """What each row of a failed call is."""
    return [Received(error=error_of_call(error)) for _ in request.lengths]


def array_of(message: Any, name: str) -> NDArray[Any] | None:
    """A tensor, if it is there."""
    return wire.from_tensor(getattr(message, name), name=name) if message.HasField(name) else None


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.copy())


def _indices(field: Any) -> NDArray[np.int64]:
    return np.array(field, np.int64)
