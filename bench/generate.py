"""Generation: 64 sessions that generate on the server, against the same fed back by their client, and bare torch.

    python -m bench.generate [--short|--full]

All sample from the same language model with random weights at temperature 1, one core for the server, another for the
client. Forks are children of one session, 64 at a time, opened and closed; hand-offs are sessions that begin from
another one's state, 64 callers at a time, opened and closed.
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
from bench.clients import clients
from bench.effort import Effort
from bench.median import median
from bench.progress import rounds
from bench.result import Bar, Figure, Result
from bench.serving import serve
from elman_models import Cell, EmbeddingSpec, HeadSpec, ModelSpec, write_bundle
from elman_server.loadgen.generator import run_loop

NAME, VOCABULARY, EMBEDDING, LAYERS, SESSIONS = "lm", 98, 64, 2, 64
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
    """Tokens a second of each side; forks and hand-offs a second."""

    generated: float
    fed_back: float
    pool_fed_back: float
    bare: float
    forks: float
    hand_offs: float


def measure(effort: Effort, folder: Path) -> Result:
    """The sides in turn, on one server."""
    model = _write(folder, effort)
    with serve(folder) as served, clients() as own:

        def rate(side: Callable[..., float]) -> float:
            return own.start(side, served.address, effort.seconds).result()

        found = [
            Round(
                rate(generated),
                rate(fed_back),
                rate(pool_fed_back),
                own.start(bare, model.state_dict(), effort.hidden_size, effort.seconds).result(),
                rate(forks),
                rate(hand_offs),
            )
            for _ in rounds("generate", effort.rounds)
        ]
    return Result(
        name="generate",
        bars=(
            Bar(
                f"{SESSIONS} sessions that generate on the server over the same fed back by the client, tokens/s",
                median(found, lambda r: r.generated / r.fed_back),
                3.0,
                at_most=False,
            ),
            Bar(
                f"{SESSIONS} sessions that generate on the server over a bare torch loop of that batch, tokens/s",
                median(found, lambda r: r.generated / r.bare),
                0.7,
                at_most=False,
            ),
        ),
        figures=(
            Figure("generated on the server", median(found, lambda r: r.generated), "tokens/s"),
            Figure("fed back, a session each", median(found, lambda r: r.fed_back), "tokens/s and round trips/s"),
            Figure("fed back, one pool", median(found, lambda r: r.pool_fed_back), "tokens/s"),
            Figure("bare torch loop", median(found, lambda r: r.bare), "tokens/s"),
            Figure("forks", median(found, lambda r: r.forks), "sessions/s"),
            Figure("hand-offs", median(found, lambda r: r.hand_offs), "sessions/s"),
        ),
    )


def _write(folder: Path, effort: Effort) -> LanguageModel:
    torch.manual_seed(SEED)
    model = LanguageModel(effort.hidden_size).requires_grad_(False).eval()
    spec = ModelSpec(
        name=NAME,
        cell=Cell.LSTM,
        input_size=EMBEDDING,
        hidden_size=effort.hidden_size,
        num_layers=LAYERS,
        embedding=EmbeddingSpec(num_embeddings=VOCABULARY, embedding_dim=EMBEDDING),
        head=HeadSpec(out_features=VOCABULARY),
    )
    write_bundle(folder / NAME, spec, dict(model.state_dict()))
    return model


def generated(address: str, seconds: float) -> float:
    """Tokens a second that 64 sessions are told. Runs in a client process."""

    async def tokens(session: elman.AsyncSession, seed: int) -> AsyncIterator[int]:
        async for token in session.generate(65536, prompt=PROMPT, seed=seed):
            yield token

    return run_loop(_rate(address, seconds, tokens))


def fed_back(address: str, seconds: float) -> float:
    """Tokens a second that 64 sessions sample themselves, each from its last output. Runs in a client process."""

    async def tokens(session: elman.AsyncSession, seed: int) -> AsyncIterator[int]:
        chance = np.random.default_rng(seed)
        output = await session.step(PROMPT, returning="last")
        while True:
            token = int(_drawn(output[None], chance)[0])
            output = await session.step([token], returning="last")
            yield token

    return run_loop(_rate(address, seconds, tokens))


async def _rate(address: str, seconds: float, tokens: Callable[[elman.AsyncSession, int], AsyncIterator[int]]) -> float:
    # Once all have begun, and have run for a while.
    count, is_over = 0, False

    async def read(session: elman.AsyncSession, seed: int) -> None:
        nonlocal count
        async for _ in tokens(session, seed):
            count += 1
            if is_over:
                break

    async with elman.AsyncClient(address) as client:
        model = await client.model(NAME)
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


def pool_fed_back(address: str, seconds: float) -> float:
    """Tokens a second of 64 sessions of one caller, stepped together. Runs in a client process."""
    chance, count = np.random.default_rng(SEED), 0
    with elman.Client(address) as client, client.model(NAME).sessions(SESSIONS) as pool:
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


def forks(address: str, seconds: float) -> float:
    """Sessions a second that are forked, and closed. Runs in a client process."""
    count = 0
    with elman.Client(address) as client, client.model(NAME).session() as session:
        session.step(PROMPT)
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            with session.fork(SESSIONS):
                count += SESSIONS
        return count / (time.perf_counter() - began)


def hand_offs(address: str, seconds: float) -> float:
    """Sessions a second that begin from another one's state, and are closed. Runs in a client process."""

    async def hand_over(model: elman.AsyncModel, source: elman.AsyncSession, until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            async with model.session(from_=source):
                count += 1
        return count

    async def all_of_them() -> float:
        async with elman.AsyncClient(address) as client:
            model = await client.model(NAME)
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
