"""The Python SDK of elman, the inference server for stacked recurrent networks.

    with elman.Client("localhost:8470") as client:
        model = client.model("char-lm")
        with model.session() as session:
            y = session.step(x)  # [T, input_size] -> [T, output_size]

`AsyncClient` is the same, awaited. `elman.testing` has a fake server for tests; `elman.wire` the tensor codec.
"""

from elman._async_client import AsyncClient
from elman._async_model import AsyncModel
from elman._async_pool import AsyncSessionPool
from elman._async_session import AsyncSession
from elman._client import Client
from elman._generating.generation import Beam
from elman._generating.iterators import AsyncGeneration, Generation
from elman._generating.request import Feedback, GenerateOptions, Mixture, Normal, Tokens
from elman._model import Model
from elman._pool import SessionPool
from elman._scoring import Score
from elman._session import Session
from elman._shared.errors import (
    AuthenticationError,
    ClosedError,
    DeadlineError,
    ElmanError,
    ErrorDetails,
    ForkError,
    InvalidInputError,
    LimitReachedError,
    LoopError,
    MissingExtraError,
    NotFoundError,
    PositionError,
    PredecessorFailedError,
    RowErrors,
    ServerError,
    SessionExistsError,
    SessionExpiredError,
    StaleHandleError,
    UnavailableError,
    UnknownMarkError,
    UnknownModelError,
    UnknownSessionError,
    UnsupportedError,
)
from elman._shared.hand_off import StateFrom
from elman._shared.info import Cell, EmbeddingInfo, HeadInfo, ModelInfo, SessionInfo, TensorInfo
from elman._shared.results import State, StepResult
from elman._shared.retry import Retry
from elman._shared.session_ids import OpenMode
from elman._stepping.options import Returning

__all__ = [
    "AsyncClient",
    "AsyncGeneration",
    "AsyncModel",
    "AsyncSession",
    "AsyncSessionPool",
    "AuthenticationError",
    "Beam",
    "Cell",
    "Client",
    "ClosedError",
    "DeadlineError",
    "ElmanError",
    "EmbeddingInfo",
    "ErrorDetails",
    "Feedback",
    "ForkError",
    "GenerateOptions",
    "Generation",
    "HeadInfo",
    "InvalidInputError",
    "LimitReachedError",
    "LoopError",
    "MissingExtraError",
    "Mixture",
    "Model",
    "ModelInfo",
    "Normal",
    "NotFoundError",
    "OpenMode",
    "PositionError",
    "PredecessorFailedError",
    "Retry",
    "Returning",
    "RowErrors",
    "Score",
    "ServerError",
    "Session",
    "SessionExistsError",
    "SessionExpiredError",
    "SessionInfo",
    "SessionPool",
    "StaleHandleError",
    "State",
    "StateFrom",
    "StepResult",
    "TensorInfo",
    "Tokens",
    "UnavailableError",
    "UnknownMarkError",
    "UnknownModelError",
    "UnknownSessionError",
    "UnsupportedError",
]

for _name in __all__:  # where they are public is where they say they are from
    if isinstance(_value := globals()[_name], type):
        _value.__module__ = __name__
del _name, _value
