"""Sessions that generate, against the fake server: over cuts, left, closed, refused, misused."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import elman
from elman.testing import FakeModel, FakeServer

STEPS = 40
QUICK = elman.Retry(initial_backoff_seconds=0.001, max_backoff_seconds=0.02)


def language(token, state):
    """Logits of 6 tokens, by all tokens so far."""
    state = (np.float32(0.7) * state + np.cos(np.arange(6) * (np.float32(token) + 1))).astype(np.float32)
    return 3 * state, state


def halve(values, state):
    """Output: half the input, and a half of what it gave before."""
    state = ((values + state) / 2).astype(np.float32)
    return state, state


MODELS = [
    FakeModel("words", input_size=6, step=language, num_embeddings=6),
    FakeModel("curve", input_size=2, step=halve),
    FakeModel("uneven", input_size=2, output_size=3, step=lambda values, state: (np.zeros(3, np.float32), state)),
]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer(MODELS)


def likeliest(prompt: list[int], steps: int) -> list[int]:
    """The largest logit each time, in plain NumPy."""
    tokens, state = list(prompt), np.zeros(6, np.float32)
    for token in prompt:
        output, state = language(token, state)
    while len(tokens) < len(prompt) + steps:
        tokens.append(int(output.argmax()))
        output, state = language(tokens[-1], state)
    return tokens[len(prompt) :]


async def listed(generation: elman.AsyncGeneration) -> list[Any]:
    return [step async for step in generation]


async def until_read(session: elman.AsyncSession) -> None:
    """Somebody waits for what it generates."""
    while not session._core._generating or not session._core._generating.is_busy:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


# ---- what comes


async def test_tokens_come_in_order_and_the_session_is_past_them(aclient, server):
    async with (await aclient.model("words")).session() as session:
        generation = session.generate(STEPS, prompt=[1, 2], temperature=0.0)
        assert await listed(generation) == likeliest([1, 2], STEPS)
        assert (generation.finish, len(generation.log_probs)) == ("length", STEPS)
        assert session.position == server.position(session.id) == 2 + STEPS
        more = await listed(session.generate(5, temperature=0.0))  # from the last output
        assert more == likeliest([1, 2], STEPS + 5)[STEPS:]


async def test_values_are_fed_back_as_they_are(aclient):
    async with (await aclient.model("curve")).session() as session:
        values = await listed(session.generate(3, prompt=[[8, 16]]))
        # The prompt gives 4 and 8; fed back they give (4 + 4) / 2.
        assert np.array_equal(values, [[4, 8]] * 3)
        assert np.array_equal(await session.step([0, 0]), [2, 4])


async def test_tokens_of_a_model_of_floats_are_one_1_among_0(aclient):
    async with (await aclient.model("curve")).session() as session:
        feedback = {"input": elman.Tokens("output")}
        tokens = await listed(session.generate(3, prompt=[[0, 1]], feedback=feedback, temperature=0.0))
        assert tokens == [1, 1, 1]
        assert session.position == 4


async def test_a_stop_is_told_and_ends_it(aclient):
    tokens = likeliest([3], STEPS)
    model = await aclient.model("words")
    sequence = tokens[3:6]
    end = next(n for n in range(3, STEPS) if tokens[n - 3 : n] == sequence)
    for stop, steps in (([tokens[4]], tokens.index(tokens[4]) + 1), ([sequence], end)):
        async with model.session() as session:
            generation = session.generate(STEPS, prompt=[3], temperature=0.0, stop=stop)
            assert await listed(generation) == tokens[:steps]
            assert generation.finish == "stop"
            assert session.position == 1 + steps


async def test_a_seed_is_told_that_gives_the_same_again(aclient):
    model = await aclient.model("words")
    generation = model.generate(STEPS, prompt=[1], temperature=8.0)
    other = model.generate(STEPS, prompt=[1], temperature=8.0)
    assert 0 <= generation.seed < 2**64
    assert generation.seed != other.seed
    tokens = await listed(generation)
    assert await listed(other) != tokens
    again = model.generate(STEPS, prompt=[1], temperature=8.0, seed=generation.seed)
    assert await listed(again) == tokens
    assert again.seed == generation.seed
    assert again.log_probs == generation.log_probs


async def test_a_model_generates_in_a_session_of_its_own_which_ends_with_it(aclient, server):
    model = await aclient.model("words")
    assert await listed(model.generate(4, prompt=[1], temperature=0.0)) == likeliest([1], 4)
    generation = model.generate(10000, prompt=[1])
    async for _ in generation:
        assert len(server.session_ids("words")) == 1
        break
    await generation.close()
    assert server.session_ids("words") == []
    with pytest.raises(elman.InvalidInputError, match="expected a prompt"):
        await listed(model.generate(4))
    assert server.session_ids("words") == []


# ---- cuts


@pytest.mark.parametrize("seed", range(3))
async def test_cuts_lose_no_step_and_repeat_none(aclient, server, seed):
    model = await aclient.model("words")
    expected = await listed(model.generate(200, prompt=[1, 2], seed=seed, temperature=8.0))
    assert len(set(expected)) == 6
    server.cut_at_random(0.2, times=40, seed=seed)
    async with model.session() as session:
        generation = session.generate(200, prompt=[1, 2], seed=seed, temperature=8.0)
        assert await listed(generation) == expected
        assert len(generation.log_probs) == 200
        assert session.position == server.position(session.id) == 202
    assert server.num_cuts == 40


async def test_a_cut_of_all_streams_in_the_middle_goes_unnoticed(aclient, server):
    async with (await aclient.model("words")).session() as session:
        told: list[int] = []
        async for token in session.generate(300, prompt=[1], temperature=0.0):
            told.append(token)
            if len(told) in (50, 150, 250):
                server.cut(forget_handles=len(told) == 150)
        assert told == likeliest([1], 300)
        assert session.position == server.position(session.id) == 301


async def test_a_restarted_server_that_kept_its_sessions_goes_unnoticed_too(aclient, server):
    async with (await aclient.model("words")).session() as session:
        told: list[int] = []
        async for token in session.generate(60, prompt=[1], temperature=0.0):
            told.append(token)
            if len(told) == 20:
                await asyncio.to_thread(server.restart, keep_sessions=True)
        assert told == likeliest([1], 60)


async def test_what_was_cut_is_told_without_retries_and_the_session_goes_on(address, server):
    async with elman.AsyncClient(address, retry=None) as client, (await client.model("words")).session() as session:
        server.cut_at_random(0.5, times=1)
        told: list[int] = []
        generation = session.generate(STEPS, prompt=[1], temperature=0.0)
        with pytest.raises(elman.UnavailableError, match="cut by the test"):  # noqa: PT012 - as it is read
            async for token in generation:
                told.append(token)  # noqa: PERF401 - those before the error
        assert told == likeliest([1], STEPS)[: len(told)]
        await session.step([2])
        assert session.position == server.position(session.id)


async def test_what_is_refused_for_now_is_asked_for_again(aclient, server):
    model = await aclient.model("words")
    server.refuse(3)
    assert await listed(model.generate(4, prompt=[1], temperature=0.0)) == likeliest([1], 4)


async def test_threads_generate_at_once_through_cuts(client, server):
    model = client.model("words")
    server.cut_at_random(0.05, times=30)

    def run(first: int) -> list[int]:
        return list(model.generate(STEPS, prompt=[first % 6], temperature=0.0))

    with ThreadPoolExecutor(6) as threads:
        for first, tokens in enumerate(threads.map(run, range(12))):
            assert tokens == likeliest([first % 6], STEPS)


async def test_coroutines_generate_at_once_and_step_other_sessions_meanwhile(aclient):
    model = await aclient.model("words")

    async def run(first: int) -> None:
        assert await listed(model.generate(STEPS, prompt=[first % 6], temperature=0.0)) == likeliest([first % 6], STEPS)

    async with model.session() as session, asyncio.TaskGroup() as group:
        for first in range(12):
            group.create_task(run(first))
        for _ in range(10):
            await session.step([1])


# ---- ends before its end


async def test_leaving_the_loop_ends_it_and_the_session_is_where_it_was_left(aclient, server):
    async with (await aclient.model("words")).session() as session:
        told: list[int] = []
        generation = session.generate(60000, prompt=[1], temperature=0.0)
        async for token in generation:
            told.append(token)
            if len(told) == 3:
                break
        await generation.close()
        output = await session.step([2], returning="last")
        assert told == likeliest([1], 3)
        assert generation.finish is None
        position = server.position(session.id)
        assert session.position == position
        tokens = [1, *likeliest([1], position - 2), 2]
        state = np.zeros(6, np.float32)
        for token in tokens:
            expected, state = language(token, state)
        assert np.array_equal(output, expected)


def test_a_thread_leaves_the_loop_and_steps_on(client, server):
    with client.model("words").session() as session:
        for number, _ in enumerate(session.generate(60000, prompt=[1])):
            if number == 2:
                break
        session.step([2])
        assert session.position == server.position(session.id)


async def test_closing_it_twice_or_before_it_began_is_nothing(aclient):
    async with (await aclient.model("words")).session() as session:
        generation = session.generate(STEPS, prompt=[1])
        await generation.close()
        await generation.close()
        assert await listed(generation) == []
        assert session.position == 0
        await session.step([1])


async def test_a_session_that_generates_refuses_steps_while_that_is_read(aclient, server):
    async with (await aclient.model("words")).session() as session:
        generation = session.generate(2, prompt=[1], temperature=0.0)
        server.hold()
        reading = asyncio.create_task(listed(generation))
        await until_read(session)
        with pytest.raises(elman.InvalidInputError, match="generates: read that to its end, or close it"):
            await session.step([1])
        with pytest.raises(elman.InvalidInputError, match="generates: read that to its end, or close it"):
            await session.state()
        with pytest.raises(elman.InvalidInputError, match="read by one at a time"):
            await listed(generation)
        server.release()
        assert await reading == likeliest([1], 2)
        await session.step([1])
        assert session.position == 4


@pytest.mark.parametrize("turns", range(6))
async def test_a_session_is_stepped_however_far_the_end_of_a_loop_that_was_left_is(aclient, server, turns):
    async with (await aclient.model("words")).session() as session:
        async for _ in session.generate(60000, prompt=[1]):
            break
        for _ in range(turns):
            await asyncio.sleep(0)
        await session.step([2])
        assert session.position == server.position(session.id)


async def test_closing_it_ends_the_loop_of_who_reads_it(aclient, server):
    async with (await aclient.model("words")).session() as session:
        generation = session.generate(STEPS, prompt=[1])
        server.hold()
        reading = asyncio.create_task(listed(generation))
        await until_read(session)
        await generation.close()
        assert await reading == []
        assert generation.finish is None
        server.release()
        await session.step([2])
        assert session.position == server.position(session.id)


async def test_a_reader_that_is_cancelled_is_cancelled_and_the_session_goes_on(aclient, server):
    async with (await aclient.model("words")).session() as session:
        server.hold()
        reading = asyncio.create_task(listed(session.generate(STEPS, prompt=[1])))
        await until_read(session)
        reading.cancel()
        server.release()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await session.step([2])
        assert session.position == server.position(session.id)


def test_a_thread_ends_the_loop_of_another(client, server):
    with client.model("words").session() as session:
        generation = session.generate(60000, prompt=[1], temperature=0.0)
        told: list[int] = []
        has_begun = threading.Event()

        def read() -> None:
            for token in generation:
                told.append(token)
                has_begun.set()

        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(read)
            has_begun.wait()
            generation.close()
            reading.result()
        assert 0 < len(told) < 60000
        assert told == likeliest([1], len(told))
        session.step([2])
        assert session.position == server.position(session.id)


async def test_closing_the_client_meanwhile_is_told_to_who_reads(address, server):
    client = elman.AsyncClient(address, retry=QUICK)
    session = await (await client.model("words")).session()
    server.hold()
    reading = asyncio.create_task(listed(session.generate(STEPS, prompt=[1])))
    await until_read(session)
    await client.close()
    with pytest.raises(elman.ClosedError):
        await reading
    server.release()


def test_closing_the_client_is_told_to_a_thread_that_reads(address, server):
    client = elman.Client(address, retry=QUICK)
    told: list[BaseException] = []
    has_begun = threading.Event()

    def read() -> None:
        try:
            for _ in client.model("words").generate(60000, prompt=[1]):
                has_begun.set()
        except elman.ElmanError as error:
            told.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    has_begun.wait()
    client.close()
    thread.join(60)
    assert [type(error) for error in told] == [elman.ClosedError]


async def test_a_timeout_is_of_all_of_it(aclient, server):
    async with (await aclient.model("words")).session() as session:
        server.hold()
        with pytest.raises(elman.DeadlineError):
            await listed(session.generate(STEPS, prompt=[1], timeout=0.05))
        server.release()
        await session.step([1])
        assert session.position == server.position(session.id)


# ---- errors as it is read


async def test_errors_come_as_it_is_read_and_the_session_goes_on(aclient, server):
    async with (await aclient.model("words")).session() as session:
        generation = session.generate(STEPS, prompt=[1], logit_bias=dict.fromkeys(range(6), -np.inf))
        with pytest.raises(elman.InvalidInputError, match="bars every token"):
            await listed(generation)
        with pytest.raises(elman.InvalidInputError, match="token ids are in"):
            await listed(session.generate(STEPS, prompt=[6]))
        assert await listed(session.generate(2, prompt=[1], temperature=0.0)) == likeliest([1], 2)


async def test_a_session_attached_elsewhere_or_expired_is_told(aclient, server):
    model = await aclient.model("words")
    for spoil, kind in ((server.steal, elman.StaleHandleError), (server.expire, elman.ElmanError)):
        async with model.session() as session:
            with pytest.raises(kind):  # noqa: PT012 - it is raised as it is read
                async for _ in session.generate(60000, prompt=[1]):
                    spoil(session.id, "words")
                    spoil = lambda *_: None  # noqa: E731
            if kind is elman.StaleHandleError:
                await session.end()


async def test_what_a_model_gives_must_be_what_it_takes(aclient):
    model = await aclient.model("uneven")
    with pytest.raises(elman.UnsupportedError, match=r"takes \[2\], which needs float32 \[2\], .* gives float32 \[3\]"):
        await listed(model.generate(2, prompt=[[1, 2]]))


async def test_what_the_fake_server_does_not_do_it_says(aclient):
    model = await aclient.model("words")
    with pytest.raises(elman.ElmanError, match="the fake server searches with no beams"):
        await listed(model.generate(2, prompt=[1], beams=2))
    feedback = {"input": elman.Normal("output", "output")}
    with pytest.raises(elman.ElmanError, match="from distributions it draws nothing"):
        await listed((await aclient.model("curve")).generate(2, prompt=[[1, 2]], feedback=feedback))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temprature": 1.0}, "expected some of prompt, temperature.*, got temprature"),
        ({"temperature": "hot"}, "temperature: expected a number, got 'hot'"),
        ({"temperature": True}, "temperature: expected a number, got True"),
        ({"top_k": 1.5}, "top_k"),
        ({"seed": 1.5}, "seed"),
        ({"stop": "end"}, "stop: expected a list of tokens"),
        ({"stop": [1.5]}, "stop: expected tokens and lists of tokens, got 1.5"),
        ({"stop": [[1.5]]}, "stop: expected a token's id, got 1.5"),
        ({"stop": 3}, "stop: expected a list of tokens"),
        ({"logit_bias": [1.0]}, "logit_bias: expected a dict of numbers by token"),
        ({"logit_bias": {"a": 1.0}}, "logit_bias: expected a token's id, got 'a'"),
        ({"feedback": "output"}, "feedback: expected a dict of outputs by input"),
        ({"feedback": {"input": 3}}, "feedback: expected the name of an output, Tokens, Normal or Mixture, got 3"),
        ({"given": [1]}, "given: expected a dict of inputs by name"),
        ({"beams": "2"}, "beams"),
    ],
    ids=str,
)
async def test_misuse_is_a_type_error_at_once(aclient, options, text):
    async with (await aclient.model("words")).session() as session:
        with pytest.raises(TypeError, match=text):
            session.generate(3, prompt=[1], **options)
        with pytest.raises(TypeError):
            session.generate("3", prompt=[1])
        await session.step([1])


# ---- scores


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


async def test_scores_are_those_of_the_outputs_compared_here(aclient, server):
    model = await aclient.model("words")
    xs = [[1, 2, 3], [4], [5, 0]]
    targets = [[2, 3, 4], [0], [0, 1]]
    expected = []
    for x, wanted in zip(xs, targets, strict=True):
        logits = (await model.infer(x))[0].astype(np.float64)
        expected.append(log_softmax(logits)[np.arange(len(x)), wanted])
    assert np.allclose(await model.score(xs, targets), [one.sum() for one in expected])
    async with model.session() as session:
        score = await session.score(xs[0][:2], targets[0][:2], steps=True)
        assert np.allclose(score.steps, expected[0][:2])
        assert np.isclose(await session.score(xs[0][2:], targets[0][2:]), expected[0][2])
        assert session.position == server.position(session.id) == 3
        await session.step([1])
    with pytest.raises(elman.InvalidInputError, match=r"in \[0, 6\), one is not"):
        await model.score([1], [6])


async def test_scores_of_values_are_squared_errors(aclient):
    model = await aclient.model("curve")
    x = np.random.default_rng(0).random((5, 2), np.float32)
    error = (((await model.infer(x))[0] - x) ** 2).mean()
    assert np.isclose(await model.score(x, x), error)
    async with model.session() as session:
        assert np.isclose(await session.score(x, x), error)
