"""Pages through the loaded models."""

from __future__ import annotations

from elman._info import ModelInfo
from elman._transport import Transport
from elman.v1 import models_pb2


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
