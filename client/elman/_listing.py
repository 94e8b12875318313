"""Pages through the loaded models, and through a model's sessions."""

from __future__ import annotations

from elman._session_info import SessionInfo
from elman._shared.info import ModelInfo
from elman._shared.transport import Transport
from elman.v1 import models_pb2, sessions_pb2

_PAGE_SIZE = 1000


async def list_models(transport: Transport) -> list[ModelInfo]:
    """All of them, by name and version."""
    models: list[ModelInfo] = []
    token = ""
    deadline = transport.deadline()
    while True:
        request = models_pb2.ListModelsRequest(page_token=token)
        response = await transport.call(transport.models.ListModels, request, deadline=deadline)
        models += [ModelInfo.from_proto(model) for model in response.models]
        token = response.next_page_token
        if not token:
            return models


async def sessions_page(transport: Transport, model: str, token: str) -> tuple[list[SessionInfo], str | None]:
    """The page that `token` (empty: the first) stands for, and the next one's token (None: it was the last)."""
    request = sessions_pb2.ListSessionsRequest(model=model, page_size=_PAGE_SIZE, page_token=token)
    response = await transport.call(transport.sessions.ListSessions, request)
    return [SessionInfo.from_proto(session) for session in response.sessions], response.next_page_token or None
