"""Generation: 64 sessions that generate on the server, against the same fed back by their client, and bare torch.

    python -m bench.generate [--short|--full]

All sample from a language model with random weights at temperature 1, of one size after the other; one core for the
server, another for the client. Forks are children of one session, 64 at a time, opened and closed; hand-offs are
sessions that begin from another one's state, 64 callers at a time, opened and closed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import elman
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.median import median
from bench.progress import rounds
from bench.result import Bar, Figure, Result
from bench.serving import serve
from elman_models import Cell, EmbeddingSpec, HeadSpec, ModelSpec, write_bundle
from elman_server.loadgen.generator import run_loop

VOCABULARY, EMBEDDING, LAYERS, SESSIONS = 98, 64, 2, 64
PROMPT = [1, 2, 3]
SEED = 20


class LanguageModel(nn.Module):
    """The next letter's logits."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.rnn = nn.LSTM(EMBEDDING, hidden_size, LAYERS)
        self.head = nn.Linear(hidden_size, VOCABULARY)


@dataclass(frozen=True)
class Round:
    """Tokens a second of each side."""

    generated: float
    fed_back: float
    pool_fed_back: float
    bare: float


def measure(effort: Effort, folder: Path) -> Result:
    """The sides in turn, size by size, on one server."""
    models = {size: _write(folder, size) for size in effort.hidden_sizes}
    bars, figures = list[Bar](), list[Figure]()
    with serve(folder) as served, clients() as own:
        for size, model in models.items():
            sides = _Sides(own, served.address, model, size, effort.seconds)
            found = [sides.round() for _ in rounds(f"generate, hidden {size}", effort.rounds)]
            bars += _bars(size, found)
            figures += _figures(size, found)
        for name, function in (("forks", forks), ("hand-offs", hand_offs)):
            rates = [own.start(function, served.address, size, effort.seconds).result() for _ in range(effort.rounds)]
            figures.append(Figure(name, median(rates, float), f"sessions/s, hidden {size}"))
    return Result("generate", tuple(bars), tuple(figures))


@dataclass(frozen=True)
class _Sides:
    own: Clients
    address: str
    model: LanguageModel
    size: int
    seconds: float

    def round(self) -> Round:
        """Each side once."""
        weights = self.model.state_dict()
        bare_loop = self.own.start(bare, weights, self.size, self.seconds).result()
        return Round(self._rate(generated), self._rate(fed_back), self._rate(pool_fed_back), bare_loop)

    def _rate(self, side: Callable[[str, int, float], float]) -> float:
        return self.own.start(side, self.address, self.size, self.seconds).result()


def _bars(size: int, found: list[Round]) -> list[Bar]:
    what = f"hidden {size}: {SESSIONS} sessions that generate on the server over"
    by_client, by_torch = (
        median(found, lambda r: r.generated / r.fed_back),
        median(found, lambda r: r.generated / r.bare),
    )
    return [
        Bar(f"{what} the same fed back by the client, tokens/s", by_client, 3.0, at_most=False),
        Bar(f"{what} a bare torch loop of that batch, tokens/s", by_torch, 0.7, at_most=False),
    ]


def _figures(size: int, found: list[Round]) -> list[Figure]:
    tokens = median(found, lambda r: r.generated)
    return [
        Figure(f"hidden {size}: generated on the server", tokens, "tokens/s"),
        Figure(f"hidden {size}: round trips that this saves the client", tokens, "a second, one for each token"),
        Figure(f"hidden {size}: fed back, a session each", median(found, lambda r: r.fed_back), "tokens/s"),
        Figure(f"hidden {size}: fed back, one pool", median(found, lambda r: r.pool_fed_back), "tokens/s"),
        Figure(f"hidden {size}: bare torch loop", median(found, lambda r: r.bare), "tokens/s"),
    ]


def _name(size: int) -> str:
    return f"lm-{size}"


def _write(folder: Path, hidden_size: int) -> LanguageModel:
    torch.manual_seed(SEED)
    model = LanguageModel(hidden_size).requires_grad_(False).eval()
    spec = ModelSpec(
        name=_name(hidden_size),
        cell=Cell.LSTM,
        input_size=EMBEDDING,
        hidden_size=hidden_size,
        num_layers=LAYERS,
        embedding=EmbeddingSpec(num_embeddings=VOCABULARY, embedding_dim=EMBEDDING),
        head=HeadSpec(out_features=VOCABULARY),
    )
    write_bundle(folder / spec.name, spec, dict(model.state_dict()))
    return model


def generated(address: str, size: int, seconds: float) -> float:
    """Tokens a second that 64 sessions are told. Runs in a client process."""

    async def tokens(session: elman.AsyncSession, seed: int) -> AsyncIterator[int]:
        async for token in session.generate(65536, prompt=PROMPT, seed=seed):
            yield token

    return run_loop(_rate(address, size, seconds, tokens))


def fed_back(address: str, size: int, seconds: float) -> float:
    """Tokens a second that 64 sessions sample themselves, each from its last output. Runs in a client process."""

    async def tokens(session: elman.AsyncSession, seed: int) -> AsyncIterator[int]:
        chance = np.random.default_rng(seed)
        output = await session.step(PROMPT, returning="last")
        while True:
            token = int(_drawn(output[None], chance)[0])
            output = await session.step([token], returning="last")
            yield token

    return run_loop(_rate(address, size, seconds, tokens))


async def _rate(
    address: str, size: int, seconds: float, tokens: Callable[[elman.AsyncSession, int], AsyncIterator[int]]
) -> float:
    # Once all have begun, and have run for a while.
    count, is_over = 0, False

    async def read(session: elman.AsyncSession, seed: int) -> None:
        nonlocal count
        async for _ in tokens(session, seed):
            count += 1
            if is_over:
                break

    async with elman.AsyncClient(address) as client:
        model = await client.model(_name(size))
        sessions = await asyncio.gather(*[model.session() for _ in range(SESSIONS)])
        reading = [asyncio.ensure_future(read(session, seed)) for seed, session in enumerate(sessions)]
        await asyncio.sleep(0.3 + seconds / 4)
        before, began = count, time.perf_counter()
        await asyncio.sleep(seconds)
        rate = (count - before) / (time.perf_counter() - began)
        is_over = True
        await asyncio.gather(*reading)
        await asyncio.gather(*[session.close() for session in sessions])
        return rate


def pool_fed_back(address: str, size: int, seconds: float) -> float:
    """Tokens a second of 64 sessions of one caller, stepped together. Runs in a client process."""
    chance, count = np.random.default_rng(SEED), 0
    with elman.Client(address) as client, client.model(_name(size)).sessions(SESSIONS) as pool:
        output = pool.step(np.repeat(np.array(PROMPT)[:, None], SESSIONS, 1), returning="last")
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            output = pool.step(_drawn(output, chance)[None], returning="last")
            count += SESSIONS
        return count / (time.perf_counter() - began)


def bare(weights: dict[str, torch.Tensor], hidden_size: int, seconds: float) -> float:
    """Tokens a second of a loop around the module, on one thread. Runs in a client process."""
    torch.set_num_threads(1)
    model = LanguageModel(hidden_size).eval()
    model.load_state_dict(weights)
    count, state = 0, None
    tokens = torch.ones(SESSIONS, dtype=torch.int64)
    began = time.perf_counter()
    with torch.inference_mode():
        while time.perf_counter() < began + seconds:
            output, state = model.rnn(model.embedding(tokens[None]), state)
            tokens = torch.multinomial(torch.softmax(model.head(output[0]), 1), 1)[:, 0]
            count += SESSIONS
    return count / (time.perf_counter() - began)


def forks(address: str, size: int, seconds: float) -> float:
    """Sessions a second that are forked, and closed. Runs in a client process."""
    count = 0
    with elman.Client(address) as client, client.model(_name(size)).session() as session:
        session.step(PROMPT)
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            with session.fork(SESSIONS):
                count += SESSIONS
        return count / (time.perf_counter() - began)


def hand_offs(address: str, size: int, seconds: float) -> float:
    """Sessions a second that begin from another one's state, and are closed. Runs in a client process."""

    async def hand_over(model: elman.AsyncModel, source: elman.AsyncSession, until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            async with model.session(from_=source):
                count += 1
        return count

    async def all_of_them() -> float:
        async with elman.AsyncClient(address) as client:
            model = await client.model(_name(size))
            async with model.session() as source:
                await source.step(PROMPT)
                began = time.perf_counter()
                counts = await asyncio.gather(*[hand_over(model, source, began + seconds) for _ in range(SESSIONS)])
                return sum(counts) / (time.perf_counter() - began)

    return run_loop(all_of_them())


def _drawn(logits: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    weights = np.exp(logits - logits.max(1, keepdims=True)).cumsum(1)
    drawn: np.ndarray = (weights < chance.random((len(logits), 1)) * weights[:, -1:]).sum(1)
    return drawn


if __name__ == "__main__":
    import sys

    from bench.__main__ import main

    sys.exit(main(["--only", "generate", *sys.argv[1:]]))
