"""The fake server and a real one, with the same models, and the same things to do to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc

import elman
from elman.testing import FakeModel, FakeServer
from elman.v1 import models_pb2, models_pb2_grpc

MAX_INFER_ROWS = 16
MAX_FRAME_BYTES = 4096


class AnyServer(Protocol):
    """Models "sum" (state = 0.5 state + input, for input of at least 0), "lstm", "tokens" and "both-ways"."""

    address: str

    def kill(self) -> None:
        """Is gone until `restart`."""

    def restart(self) -> None:
        """Becomes another process at the same address, without sessions."""

    def close(self) -> None:
        """Goes away."""


@contextmanager
def unloaded(address: str, model: str) -> Iterator[None]:
    """Unloads a model, and loads it again at the end."""
    with grpc.insecure_channel(address) as channel:
        models: Any = models_pb2_grpc.ModelsStub(channel)
        models.UnloadModel(models_pb2.UnloadModelRequest(model=model))
        yield
        models.LoadModel(models_pb2.LoadModelRequest(model=model))


def reload(address: str, model: str) -> None:
    """Unloads a model and loads it again."""
    with unloaded(address, model):
        pass


def end_all(address: str) -> None:
    """Ends whatever sessions are left."""
    with elman.Client(address) as client:
        for info in client.models():
            model = client.model(info.name)
            if ids := [] if info.bidirectional else [session.id for session in model.list_sessions()]:
                model.end_sessions(ids)


class Fake:
    """The SDK's own."""

    def __init__(self, models: list[FakeModel]) -> None:
        self._server = FakeServer(models, max_infer_rows=MAX_INFER_ROWS, max_frame_bytes=MAX_FRAME_BYTES)
        self.address = self._server.__enter__()

    def kill(self) -> None:
        self._server.stop()

    def restart(self) -> None:
        self._server.restart()

    def close(self) -> None:
        self._server.__exit__(None, None, None)


class Real:
    """`elman-server serve` as a process."""

    def __init__(self, folder: Path) -> None:
        write_models(folder)
        self._folder = folder
        self._running = self._start("127.0.0.1:0")
        self.address = self._running.address

    def kill(self) -> None:
        self._running.close()

    def restart(self) -> None:
        self.kill()
        self._running = self._start(self.address)

    def close(self) -> None:
        self._running.close()

    def _start(self, listen: str) -> Any:
        if (path := str(Path(__file__).parents[1] / "e2e")) not in sys.path:
            sys.path.append(path)
        from running import Running

        limits = ("--max-infer-rows", str(MAX_INFER_ROWS), "--max-frame-bytes", str(MAX_FRAME_BYTES))
        return Running(self._folder, "--listen", listen, *limits)


def write_models(folder: Path) -> None:
    """Bundles that answer, or at least are shaped, like the fake models."""
    import torch

    from elman_models import Cell, EmbeddingSpec, HeadSpec, ModelSpec, write_bundle

    sizes: dict[str, Any] = {"input_size": 2, "hidden_size": 2}
    specs = [
        ModelSpec(name="sum", cell=Cell.RNN_RELU, bias=False, **sizes),
        ModelSpec(name="lstm", cell=Cell.LSTM, **sizes),
        ModelSpec(name="both-ways", cell=Cell.LSTM, bidirectional=True, **sizes),
        ModelSpec(
            name="tokens",
            cell=Cell.GRU,
            input_size=4,
            hidden_size=1,
            embedding=EmbeddingSpec(num_embeddings=10, embedding_dim=4),
            head=HeadSpec(out_features=2),
        ),
    ]
    for spec in specs:
        kind = {Cell.LSTM: torch.nn.LSTM, Cell.GRU: torch.nn.GRU}.get(spec.cell, torch.nn.RNN)
        module = torch.nn.ModuleDict(
            {"rnn": kind(spec.input_size, spec.hidden_size, bias=spec.bias, bidirectional=spec.bidirectional)}
        )
        if spec.embedding and spec.head:
            module["embedding"] = torch.nn.Embedding(10, 4)
            module["head"] = torch.nn.Linear(1, 2)
        weights = module.state_dict()
        if spec.name == "sum":
            weights = {"rnn.weight_ih_l0": torch.eye(2), "rnn.weight_hh_l0": 0.5 * torch.eye(2)}
        write_bundle(folder / spec.name, spec, weights)
