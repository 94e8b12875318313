"""Sessions that generate on the server; held against the same sampler on torch's logits, one sequence at a time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from elman_models.generation.sampling import SamplingRules, sample
from served import Serve, Served
from toys import toy, write_toys

import elman


def reference(
    prompt: list[int], steps: int, rules: SamplingRules, stop: tuple[int, ...] = ()
) -> tuple[list[int], list[float]]:
    """The same sampler on the whole sequence, run anew for each step."""
    sequence, log_probs = list(prompt), []
    for count in range(steps):
        logits = toy("tokens").run(np.array(sequence))[0][-1:]
        tokens, scores = sample(logits, [rules], [count], [sequence])
        sequence.append(int(tokens[0]))
        log_probs.append(float(scores[0]))
        if sequence[-1] in stop:
            break
    return sequence[len(prompt) :], log_probs


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toys(tmp_path_factory.mktemp("generate"), ["tokens", "lstm_proj", "gru", "bi_lstm"])


@pytest.fixture
async def served(serve: Serve, models: Path) -> Served:
    return await serve(models=models, max_slice=3, max_sessions=128)


@pytest.fixture
async def client(served: Served) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(served.server.address) as client:
        yield client


async def listed(generation: elman.AsyncGeneration) -> list[Any]:
    return [step async for step in generation]


RULES: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.5, "top_k": 2},
    {"top_p": 0.7},
    {"repetition_penalty": 1.7},
    {"logit_bias": {1: -np.inf, 2: 1.5}},
]


@pytest.mark.parametrize("rules", RULES, ids=str)
async def test_tokens_are_those_of_the_same_sampler_on_torchs_logits(
    client: elman.AsyncClient, rules: dict[str, Any]
) -> None:
    model = await client.model("tokens")
    async with model.session() as session:
        generation = session.generate(20, prompt=[3, 1, 2, 0], seed=7, **rules)
        tokens = await listed(generation)
        assert session.position == 24
    expected, log_probs = reference([3, 1, 2, 0], 20, SamplingRules(seed=7, **rules))
    assert tokens == expected
    assert np.allclose(generation.log_probs, log_probs, atol=1e-5)
    assert generation.finish == "length"


async def test_many_sessions_generate_at_once_as_each_does_alone(client: elman.AsyncClient) -> None:
    model = await client.model("tokens")

    async def one(seed: int) -> list[int]:
        prompt = [seed % 4] * (1 + seed % 5)
        return await listed(model.generate(10 + seed % 7, prompt=prompt, seed=seed))

    tokens = await asyncio.gather(*[one(seed) for seed in range(64)])
    for seed, given in enumerate(tokens):
        assert given == reference([seed % 4] * (1 + seed % 5), 10 + seed % 7, SamplingRules(seed=seed))[0]
    assert not [one async for one in model.list_sessions()]


async def test_a_generation_goes_on_from_the_last_output_and_steps_from_the_generation(
    client: elman.AsyncClient,
) -> None:
    model = await client.model("tokens")
    async with model.session() as session:
        await session.step([3, 1])
        first = await listed(session.generate(5, seed=1))
        second = await listed(session.generate(5, seed=2))
        output = await session.step([2])
        begun, _ = reference([3, 1], 5, SamplingRules(seed=1))
        assert first == begun
        assert second == reference([3, 1, *first], 5, SamplingRules(seed=2))[0]
        expected = toy("tokens").run(np.array([3, 1, *first, *second, 2]))[0][-1]
        assert np.allclose(output[0], expected, atol=1e-5)


async def test_leaving_the_loop_ends_it_and_the_session_is_where_it_was_left(client: elman.AsyncClient) -> None:
    model = await client.model("tokens")
    async with model.session() as session:
        told = []
        async for token in session.generate(60000, prompt=[1], temperature=0.0):
            told.append(token)
            if len(told) == 3:
                break
        output = await session.step([2])
        position = session.position
        tokens, _ = reference([1], position - 2, SamplingRules(temperature=0.0))
        assert told == tokens[:3]
        assert np.allclose(output[0], toy("tokens").run(np.array([1, *tokens, 2]))[0][-1], atol=1e-5)


async def test_values_are_fed_back_where_output_and_input_have_one_shape(client: elman.AsyncClient) -> None:
    pass


def test_threads_generate_likewise(served: Served) -> None:
    pass
