"""A fake server per test, or a fake and a real one for many, and clients of them."""

import uuid
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from any_server import MAX_FRAME_BYTES, AnyServer, Fake, Real, end_all

import elman
from elman.testing import FakeModel, FakeServer

QUICK = elman.Retry(initial_backoff_seconds=0.001, max_backoff_seconds=0.02)


def count_tokens(token, state):
    """Output: the id, and how many came before it."""
    return np.array([token, state[0]], np.float32), state + np.float32(1)


MODELS = [
    FakeModel("sum", input_size=2),
    FakeModel("lstm", input_size=2, is_lstm=True),
    FakeModel("tokens", input_size=4, hidden_size=1, output_size=2, step=count_tokens, num_embeddings=10),
    FakeModel("both-ways", input_size=2, is_bidirectional=True),
    FakeModel("small", input_size=2, max_sessions=2),
]


@pytest.fixture(scope="session", params=["fake", "real"])
def started_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyServer]:
    started = Fake(MODELS[:-1]) if request.param == "fake" else Real(tmp_path_factory.mktemp("models"))
    yield started
    started.close()


@pytest.fixture
def any_server(started_server: AnyServer) -> Iterator[AnyServer]:
    """The fake server, and then a real one in a process of its own; without sessions at first."""
    yield started_server
    end_all(started_server.address)


@pytest.fixture
def any_client(any_server: AnyServer) -> Iterator[elman.Client]:
    with elman.Client(any_server.address, timeout=60, max_frame_bytes=MAX_FRAME_BYTES) as client:
        yield client


@pytest.fixture
async def any_aclient(any_server: AnyServer) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(any_server.address, timeout=60, max_frame_bytes=MAX_FRAME_BYTES) as client:
        yield client


@pytest.fixture
def new_id() -> str:
    """A session id that no test had before."""
    return f"user-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def server() -> FakeServer:
    return FakeServer(MODELS)


@pytest.fixture
def address(server: FakeServer) -> Iterator[str]:
    with server as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[elman.Client]:
    with elman.Client(address, retry=QUICK, timeout=60) as client:
        yield client


@pytest.fixture
async def aclient(address: str) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(address, retry=QUICK, timeout=60) as client:
        yield client
