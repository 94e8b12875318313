"""What `Infer` is to keep, read from its message."""

from elman.v1 import inference_pb2
from elman_server.door.elman_v1.many_ids import check_ids, check_request_id
from elman_server.errors import InvalidInput
from elman_server.exchange.model_view import ModelView
from elman_server.exchange.session_calls.keep import Keep


def read_keep(request: inference_pb2.InferRequest, view: ModelView, principal: str) -> Keep | None:
    """As what the final states are kept; None: they are not.

    Raises:
        InvalidInput: another number of ids than of rows, a bad or repeated one, a request's name alone or one that is
            too long, or the model has no state.
    """
    ids = list(request.keep_state_as)
    if not ids:
        if request.request_id:
            raise InvalidInput("request_id: is of a request that keeps states; expected keep_state_as with it")
        return None
    if len(ids) != len(request.lengths):
        raise InvalidInput(f"keep_state_as: expected {len(request.lengths)} ids, one for each row, got {len(ids)}")
    check_ids(ids, "keep_state_as")
    check_request_id(request.request_id)
    if not view.states:
        again = (
            "; if it was packed with recurrences before these had states, pack it again" * view.needs_whole_sequences
        )
        raise InvalidInput(f"keep_state_as: model {request.model!r} has no state that could be kept{again}")
    return Keep(principal, ids, request.request_id)
