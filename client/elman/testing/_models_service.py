"""The fake server's models."""

# ruff: noqa: N802 - gRPC's method names

from __future__ import annotations

import grpc

from elman.testing._handling import answer
from elman.testing._server_state import ServerState
from elman.v1 import models_pb2, models_pb2_grpc

_DEFAULT_PAGE = 100


class FakeModels(models_pb2_grpc.ModelsServicer):
    """Lists and describes; what is loaded is what the test gave."""

    def __init__(self, server_state: ServerState) -> None:
        self._server_state = server_state

    def ListModels(
        self, request: models_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> models_pb2.ListModelsResponse:
        """By name and version, in pages."""
        return answer(self._server_state, context, self._list, request)

    def DescribeModel(
        self, request: models_pb2.DescribeModelRequest, context: grpc.ServicerContext
    ) -> models_pb2.DescribeModelResponse:
        """One model."""
        return answer(self._server_state, context, self._describe, request)

    def LoadModel(
        self, request: models_pb2.LoadModelRequest, context: grpc.ServicerContext
    ) -> models_pb2.LoadModelResponse:
        """A model that is loaded already is left as it is, or refused where its files were changed since; one that was
        unloaded comes back without its sessions.
        """
        return answer(self._server_state, context, self._load, request)

    def UnloadModel(
        self, request: models_pb2.UnloadModelRequest, context: grpc.ServicerContext
    ) -> models_pb2.UnloadModelResponse:
        """Ends a model's sessions, and forgets it until it is loaded again."""
        return answer(self._server_state, context, self._unload, request)

    def _list(self, request: models_pb2.ListModelsRequest) -> models_pb2.ListModelsResponse:
        models = [self._server_state.models[key] for key in sorted(self._server_state.models)]
        first = int(request.page_token or 0)
        last = first + (request.page_size or _DEFAULT_PAGE)
        token = str(last) if last < len(models) else ""
        infos = [model.info() for model in models[first:last]]
        return models_pb2.ListModelsResponse(models=infos, next_page_token=token)

    def _describe(self, request: models_pb2.DescribeModelRequest) -> models_pb2.DescribeModelResponse:
        return models_pb2.DescribeModelResponse(model=self._server_state.model(request.model, request.version).info())

    def _load(self, request: models_pb2.LoadModelRequest) -> models_pb2.LoadModelResponse:
        models = self._server_state.load(request.model, request.version)
        return models_pb2.LoadModelResponse(models=[model.info() for model in models])

    def _unload(self, request: models_pb2.UnloadModelRequest) -> models_pb2.UnloadModelResponse:
        model = self._server_state.model(request.model, request.version)
        self._server_state.unload(model)
        return models_pb2.UnloadModelResponse(models=[model.info()])
