"""Sessions that generate on the server; held against the same sampler on torch's logits, one sequence at a time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from served import Serve, Served
from toys import toy, write_toys

import elman
from elman_models.generation.sampling import SamplingRules, sample


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


async def test_a_session_generates_as_well_for_threads(served: Served) -> None:
    def run() -> None:
        with elman.Client(served.server.address) as client, client.model("tokens").session() as session:
            told = []
            for token in session.generate(100, prompt=[1], temperature=0.0):
                told.append(token)
                if len(told) == 3:
                    break
            session.step([2])
            assert told == reference([1], 3, SamplingRules(temperature=0.0))[0]
            generation = session.generate(4, seed=3)
            assert len(list(generation)) == len(generation.log_probs) == 4
            assert generation.finish == "length"
            assert list(client.model("tokens").generate(2, prompt=[1], temperature=0.0)) == told[:2]

    await asyncio.to_thread(run)


async def test_it_ends_with_a_stop_token_or_the_last_of_a_sequence_which_are_told(client: elman.AsyncClient) -> None:
    tokens, _ = reference([1], 30, SamplingRules(seed=5))
    model = await client.model("tokens")
    async with model.session() as session:
        generation = session.generate(30, prompt=[1], seed=5, stop=[tokens[6]])
        first = tokens.index(tokens[6])
        assert await listed(generation) == tokens[: first + 1]
        assert generation.finish == "stop"
        assert session.position == 2 + first
    given = await listed(model.generate(30, prompt=[1], seed=5, stop=[tokens[3:6]]))
    end = next(n for n in range(3, 31) if tokens[n - 3 : n] == tokens[3:6])
    assert given == tokens[:end]


async def test_a_prompt_may_have_tokens_that_the_model_never_gives(client: elman.AsyncClient) -> None:
    model = await client.model("tokens")  # takes 11 ids, and gives logits of 4
    rules = SamplingRules(temperature=0.0, repetition_penalty=1.7)
    given = await listed(model.generate(6, prompt=[7, 10], temperature=0.0, repetition_penalty=1.7, stop=[[0, 0, 0]]))
    assert given == reference([7, 10], 6, rules)[0][: len(given)]


async def test_a_bug_where_steps_are_made_ends_what_generates_and_nothing_else(
    client: elman.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await client.model("tokens")
    async with model.session() as session:
        with monkeypatch.context() as patched:
            patched.setattr("elman_server.generating.generator.feed", lambda *_: [][0])
            with pytest.raises(elman.ServerError, match="what is generated met a bug in the server: IndexError"):
                await listed(session.generate(3, prompt=[1]))
        assert len(await listed(session.generate(3))) == 3
        assert len(await listed(model.generate(3, prompt=[1]))) == 3


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"temperature": -1.0}, elman.InvalidInputError, "temperature: expected 0 or more, got -1"),
    ({"top_p": 0.0}, elman.InvalidInputError, "top_p: expected more than 0 and at most 1, got 0"),
    ({"top_k": 0}, elman.InvalidInputError, "top_k: expected"),
    ({"stop": [4]}, elman.InvalidInputError, r"stop: tokens of this model are in \[0, 4\), got 4"),
    ({"stop": [[]]}, elman.InvalidInputError, "stop_sequences: each has at least one token"),
    ({"repetition_penalty": 0.0}, elman.InvalidInputError, "repetition_penalty: expected more than 0"),
    ({"logit_bias": {9: 1.0}}, elman.InvalidInputError, "logit_bias: tokens of this model are in"),
    ({"logit_bias": dict.fromkeys(range(4), -np.inf)}, elman.InvalidInputError, "bars every token"),
    ({"beams": 1}, elman.InvalidInputError, "beams: expected 2 to 64, or 0 for none, got 1"),
    ({"length_penalty": 1.0}, elman.InvalidInputError, "length_penalty: is of beams"),
    ({"prompt": [11]}, elman.InvalidInputError, "token ids are in"),
    ({"prompt": None}, elman.InvalidInputError, "expected a prompt"),
    ({"feedback": {"input": "nothing"}}, elman.InvalidInputError, "expected one of 'output', got 'nothing'"),
    ({"given": {"input": [1]}}, elman.InvalidInputError, "given: expected the inputs that are not fed back, none"),
    ({"temprature": 1.0}, TypeError, "got temprature"),
    ({"seed": -1}, elman.InvalidInputError, "seed: expected"),
    ({"stop": "end"}, TypeError, "stop: expected a list of tokens"),
]


@pytest.mark.parametrize(("options", "kind", "text"), BAD, ids=[text for _, _, text in BAD])
async def test_what_is_wrong_is_said_by_name_and_the_session_goes_on(
    client: elman.AsyncClient, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    model = await client.model("tokens")
    async with model.session() as session:
        with pytest.raises(kind, match=text):
            await listed(session.generate(3, **{"prompt": [1], **options}))  # type: ignore[arg-type]
        assert session.position == 0
        assert len(await listed(session.generate(3, prompt=[1]))) == 3


async def test_models_that_cannot_be_fed_what_they_give_are_refused_saying_why(client: elman.AsyncClient) -> None:
    model = await client.model("gru")
    with pytest.raises(elman.UnsupportedError, match=r"takes \[3\], which needs float32 \[3\], .* gives float32 \[5\]"):
        await listed(model.generate(3, prompt=np.zeros((1, 3), np.float32)))
    model = await client.model("bi_lstm")
    with pytest.raises(elman.UnsupportedError, match="bidirectional"):
        await listed(model.generate(3, prompt=np.zeros((1, 3), np.float32)))
    model = await client.model("tokens")
    with pytest.raises(elman.InvalidInputError, match="max_steps: expected 1 to max_generate_steps, 65536, got 65537"):
        await listed(model.generate(65537, prompt=[1]))


async def test_a_session_that_is_attached_elsewhere_ends_what_it_generates(
    served: Served, client: elman.AsyncClient
) -> None:
    model = await client.model("tokens")
    async with model.session("taken") as session, elman.AsyncClient(served.server.address) as other:
        with pytest.raises(elman.StaleHandleError):  # noqa: PT012 - it is raised as it is read
            async for _ in session.generate(60000, prompt=[1]):
                if not (await other.model("tokens")) or session.position > 3:
                    async with (await other.model("tokens")).session("taken") as taken:
                        await taken.step([1])
        await session.end()


async def test_scores_are_log_likelihoods_of_what_came_next(client: elman.AsyncClient) -> None:
    model = await client.model("tokens")
    rng = np.random.default_rng(1)
    xs = [rng.integers(0, 4, n + 1) for n in (3, 7, 1, 5)]
    expected = []
    for x in xs:
        logits = torch.from_numpy(toy("tokens").run(x[:-1])[0]).double()
        expected.append(torch.log_softmax(logits, 1)[torch.arange(len(x) - 1), torch.from_numpy(x[1:])].numpy())
    totals = await model.score([x[:-1] for x in xs], [x[1:] for x in xs])
    assert np.allclose(totals, [one.sum() for one in expected], atol=1e-4)
    assert np.isclose(await model.score(xs[1][:-1], xs[1][1:]), expected[1].sum(), atol=1e-4)
    async with model.session() as session:
        score = await session.score(xs[1][:4], xs[1][1:5], steps=True)
        assert np.allclose(score.steps, expected[1][:4], atol=1e-5)
        assert np.isclose(await session.score(xs[1][4:-1], xs[1][5:]), expected[1][4:].sum(), atol=1e-4)
        assert session.position == 7


async def test_scores_of_values_are_squared_errors(client: elman.AsyncClient) -> None:
    model, rng = await client.model("gru"), np.random.default_rng(2)
    x, y = rng.normal(size=(6, 3)).astype(np.float32), rng.normal(size=(6, 5)).astype(np.float32)
    error = ((toy("gru").run(x)[0] - y) ** 2).mean()
    assert np.isclose(await model.score(x, y), error, rtol=1e-4)
    async with model.session() as session:
        assert np.isclose(await session.score(x, y), error, rtol=1e-4)


async def test_targets_of_another_length_or_token_are_refused(client: elman.AsyncClient) -> None:
    model = await client.model("tokens")
    with pytest.raises(elman.InvalidInputError, match=r"targets: expected \[2\], one for each step, got \[3\]"):
        await model.score([1, 2], [1, 2, 3])
    with pytest.raises(elman.InvalidInputError, match=r"in \[0, 4\), one is not"):
        await model.score([1, 2], [1, 4])
    async with model.session() as session:
        with pytest.raises(elman.InvalidInputError, match=r"in \[0, 4\), one is not"):
            await session.score([1, 2], [1, -1])
        assert session.position == 0


def likeliest(prompt: list[int], steps: int, stop: int, penalty: float) -> list[tuple[list[int], float]]:
    """All sequences there are, the best first."""
    found: list[tuple[list[int], float]] = []

    def extend(tokens: list[int], log_prob: float) -> None:
        if tokens and (tokens[-1] == stop or len(tokens) == steps):
            found.append((tokens, log_prob / len(tokens) ** penalty))
            return
        logits = torch.from_numpy(toy("tokens").run(np.array(prompt + tokens))[0][-1]).double()
        for token, value in enumerate(torch.log_softmax(logits, 0).tolist()):
            extend([*tokens, token], log_prob + value)

    extend([], 0.0)
    return sorted(found, key=lambda one: -one[1])


@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
async def test_wide_beams_find_what_a_look_at_all_sequences_finds(client: elman.AsyncClient, penalty: float) -> None:
    model = await client.model("tokens")
    async with model.session() as session:
        generation = session.generate(4, prompt=[3, 1], beams=64, stop=[2], length_penalty=penalty)
        tokens = await listed(generation)
        expected = likeliest([3, 1], 4, 2, penalty)
        assert tokens == expected[0][0]
        assert [beam.tokens for beam in generation.beams[:10]] == [one for one, _ in expected[:10]]
        assert np.allclose(
            [beam.score for beam in generation.beams[:10]], [score for _, score in expected[:10]], atol=1e-5
        )
        assert session.position == 2 + len(tokens)
        output = await session.step([1])
        assert np.allclose(output[0], toy("tokens").run(np.array([3, 1, *tokens, 1]))[0][-1], atol=1e-5)
    assert not [one async for one in model.list_sessions()]


async def test_a_state_that_was_put_in_has_given_no_output_to_go_on_from(client: elman.AsyncClient) -> None:
    model = await client.model("tokens")
    async with model.session() as session:
        await session.step([3, 1])
        await session.set_state(await session.state())
        with pytest.raises(elman.InvalidInputError, match="expected a prompt"):
            await listed(session.generate(3))
        child = await session.fork()
        with pytest.raises(elman.InvalidInputError, match="expected a prompt"):
            await listed(child.generate(3))
        await child.end()
        await session.step([2])
        assert len(await listed(session.generate(3))) == 3
