"""What makes no sense raises one of ours, or TypeError, saying what was expected; for threads and for coroutines."""

import asyncio
import inspect
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import elman

INVALID, TYPE = elman.InvalidInputError, TypeError
X = [[0.0, 1.0]]
Y = np.zeros((1, 2, 2), np.float32)  # of a pool of two
NAMED = {"good", "a", "b", "c"}  # none of which is ever opened
Misuse = tuple[str, Callable[[Any], Any], type[Exception], str]

BAD_INPUTS: list[tuple[str, Any, str]] = [
    ("nothing", None, "expected real numbers, got None"),
    ("a dict", {"x": 1}, "expects 'input', got 'x'"),
    ("a set", {1}, "expected real numbers, got {1}"),
    ("text", "abc", "expected real numbers, got 'abc'"),
    ("bytes", b"abc", "expected real numbers, got b'abc'"),
    ("texts", [["a", "b"]], "expected real numbers, got dtype <U1"),
    ("objects", [[object(), None]], "expected real numbers, got dtype object"),
    ("complex numbers", np.zeros((1, 2), complex), "got dtype complex128"),
    ("times", np.zeros((1, 2), "M8[s]"), r"got dtype datetime64\[s\]"),
    ("a function", len, "expected real numbers, got <built-in"),
    ("a generator", (x for x in X), "expected real numbers, got <generator"),
    ("huge integers", [[10**400, 1]], "expected real numbers, got dtype object"),
    ("a sparse tensor", torch.zeros(1, 2).to_sparse(), "expected an array of numbers"),
    ("a tensor without data", torch.zeros(1, 2, device="meta"), "expected an array of numbers"),
    ("a scalar", 1.0, r"expects .*; got \[\]"),
    ("too many features", [[0.0, 1.0, 2.0]], r"expects .*; got \[1, 3\]"),
    ("too many axes", np.zeros((1, 1, 1, 2)), r"got \[1, 1, 1, 2\]"),
    ("no steps", np.zeros((0, 2)), r"T >= 1.* got \[0, 2\]"),
    ("ragged numbers", [[0.0, 1.0], [2.0]], "expected an array of numbers"),
]

BAD_IDS: list[tuple[str, Any, type[Exception], str]] = [
    ("a number", 5, TYPE, "expected text, got 5"),
    ("bytes", b"a", TYPE, "expected text, got b'a'"),
    ("empty", "", INVALID, "expected 1 to 128 characters, got 0"),
    ("too long", "x" * 129, INVALID, "expected 1 to 128 characters, got 129"),
    ("a control character", "a\nb", INVALID, r"expected no control characters, got 'a\\nb'"),
    ("a late control character", "a\x85", INVALID, "expected no control characters"),
    ("a lone surrogate", "\ud800", INVALID, "lone surrogate"),
]

BAD_TIMEOUTS: list[tuple[Any, type[Exception]]] = [
    *((value, INVALID) for value in (0, -1, math.nan, math.inf, -math.inf, 1e300)),
    *((value, TYPE) for value in ("1", True, [1], {})),
]


def options(of: str, call: Callable[..., Any], *, has_state: bool = True) -> Iterator[Misuse]:
    """What any call with options refuses."""
    for value, error in BAD_TIMEOUTS:
        yield f"{of}, timeout {value!r}", lambda on, v=value: call(on, timeout=v), error, "timeout: expected"
    for value, error in (("some", INVALID), ("", INVALID), (5, TYPE), ([], TYPE)):
        yield f"{of}, returning {value!r}", lambda on, v=value: call(on, returning=v), error, "returning: expected"
    for outputs, error in (
        ("output", TYPE),
        (5, TYPE),
        ([], INVALID),
        (["nothing"], INVALID),
        (["output"] * 2, INVALID),
    ):
        text = "outputs: expected some of 'output', each once"
        yield f"{of}, outputs {outputs!r}", lambda on, v=outputs: call(on, outputs=v), error, text
    for name in ("state",) * has_state + ("progress",):
        for value in (None, 1, "yes"):
            text = f"{name}: expected True or False"
            yield f"{of}, {name} {value!r}", lambda on, n=name, v=value: call(on, **{n: v}), TYPE, text


def of_client() -> Iterator[Misuse]:
    for value, error in ((5, TYPE), (None, TYPE), (b"sum", TYPE), ("\ud800", INVALID)):
        yield f"name {value!r}", lambda client, v=value: client.model(v), error, "name: expected"
        yield f"version {value!r}", lambda client, v=value: client.model("sum", v), error, "version: expected"
        yield f"readiness of {value!r}", lambda client, v=value: client.is_ready(v), error, "model: expected"
    yield "an unknown model", lambda client: client.model("nosuch"), elman.UnknownModelError, "nosuch"
    yield "a model without a name", lambda client: client.model(""), elman.UnknownModelError, ""


def of_model() -> Iterator[Misuse]:
    for what, value, error, text in BAD_IDS:
        yield f"id: {what}", lambda model, v=value: model.session(v), error, f"id: .*{text}"
        yield f"ids: {what}", lambda model, v=value: model.sessions(ids=["good", v]), error, rf"ids\[1\]: .*{text}"
        yield f"ended: {what}", lambda model, v=value: model.end_sessions(["good", v]), error, rf"ids\[1\]: .*{text}"
    for value in ("abc", b"abc", 5, {"a": 1}, {"a"}):
        yield f"ids {value!r}", lambda model, v=value: model.sessions(ids=v), TYPE, "ids: expected a sequence of ids"
        yield f"ended {value!r}", lambda model, v=value: model.end_sessions(v), TYPE, "ids: expected a sequence of ids"
    for value in (["a", "b", "a"], []):
        yield f"ids {value!r}", lambda model, v=value: model.sessions(ids=v), INVALID, "ids: expected"
        yield f"ended {value!r}", lambda model, v=value: model.end_sessions(v), INVALID, "ids: expected"
    for value, error in ((0, INVALID), (-1, INVALID), (True, TYPE), (2.0, TYPE), ("2", TYPE), ([1], TYPE)):
        yield f"n {value!r}", lambda model, v=value: model.sessions(v), error, "n: expected"
    yield "neither", lambda model: model.sessions(), INVALID, "one of the two"
    yield "both", lambda model: model.sessions(1, ids=["a"]), INVALID, "one of the two"
    for value, error in (("old", INVALID), ("", INVALID), (None, TYPE), (True, TYPE), (2, TYPE)):
        yield f"mode {value!r}", lambda model, v=value: model.session("a", mode=v), error, "mode: expected one of"
        yield f"pool's mode {value!r}", lambda model, v=value: model.sessions(2, mode=v), error, "mode: expected one of"
    for context, error in ((5, TYPE), ({"speaker": 1}, INVALID)):
        yield f"context {context!r}", lambda model, v=context: model.session(context=v), error, "context: "
        yield f"pool's context {context!r}", lambda model, v=context: model.sessions(2, context=v), error, "context: "
    yield "resuming nothing", lambda model: model.session(mode="resume"), INVALID, "mode: expected an id"
    yield "resuming some", lambda model: model.sessions(2, mode="resume"), INVALID, "mode: expected an id"
    for value in (1, "yes", []):
        call = lambda model, v=value: model.session(end_on_disconnect=v)  # noqa: E731
        yield f"end_on_disconnect {value!r}", call, TYPE, "end_on_disconnect: expected True or False"
    for value in ("abc", 5, {"h": 1}):
        yield (
            f"from_ {value!r}",
            lambda model, v=value: model.session(from_=v),
            TYPE,
            "from_: expected a session, a pool",
        )
    for value in (None, "abc", 5):
        yield f"move of {value!r}", lambda model, v=value: model.move(v, "2"), TYPE, "session: expected a session"
    yield "a map of nothing", lambda model: model.session(map={"h": "h"}), INVALID, "map: .* there is no from_"
    state = elman.State({"h": np.zeros((1, 1, 2), np.float32)}, 0, is_stack=True)
    yield "a state by hand", lambda model: model.session(from_=state), INVALID, "from_: expected a session, or a State"
    for value in (None, "abc", 5, [1]):
        yield f"import of {value!r}", lambda model, v=value: model.import_session(v), TYPE, "exported: expected bytes"
    yield "an odd id to import", lambda model: model.import_session(b"", "\n"), INVALID, "id: expected"
    yield "a positional mode", lambda model: model.session("a", "new"), TYPE, ""
    yield from of_infer()
    yield from of_generations()


def of_infer() -> Iterator[Misuse]:
    for what, value, text in BAD_INPUTS:
        yield f"infer of {what}", lambda model, v=value: model.infer(v), INVALID, text
        in_list = [np.zeros((1, 2), np.float32), value]
        yield f"infer of a list with {what}", lambda model, v=in_list: model.infer(v), INVALID, text
    yield "infer of one step", lambda model: model.infer([0.0, 1.0]), INVALID, "expected a sequence with a T axis"
    for name in ("h_0", "c_0"):
        for what, value in (("a dict", {}), ("text", "abc"), ("one axis", np.zeros(2)), ("rows", np.zeros((1, 2, 2)))):
            call = lambda model, n=name, v=value: model.infer(X, **{"h_0": np.zeros((1, 1, 2)), n: v})  # noqa: E731
            yield f"{name}: {what}", call, INVALID, f"{name}: expected"
    yield from options("infer", lambda model, **some: model.infer(X, **some), has_state=False)


def of_session() -> Iterator[Misuse]:
    for what, value, text in BAD_INPUTS:
        yield f"step of {what}", lambda session, v=value: session.step(v), INVALID, text
        if not what.startswith("a generator"):
            chunks = [value]
            yield f"stream of {what}", lambda session, v=chunks: session.stream(v), INVALID, text
    yield from options("step", lambda session, **some: session.step(X, **some))
    for name in ("timeout", "returning"):
        for what, call, error, text in options("", lambda session, **some: session.stream([X], **some)):
            if f", {name} " in what:
                yield f"stream{what}", call, error, text
    yield "a stream of nothing", lambda session: session.stream([X], returning="none"), INVALID, "returning: expected"
    for value, error in ((0, INVALID), (-1, INVALID), (1.5, TYPE), (True, TYPE), ("2", TYPE)):
        call = lambda session, v=value: session.stream([X], max_in_flight=v)  # noqa: E731
        yield f"max_in_flight {value!r}", call, error, "max_in_flight: expected"
    for value in (None, 5, len):
        yield f"chunks {value!r}", lambda session, v=value: session.stream(v), TYPE, "chunks: expected"
    for value, error in ((0, INVALID), (-1, INVALID), (1.5, TYPE), (True, TYPE), ("2", TYPE)):
        yield f"fork {value!r}", lambda session, v=value: session.fork(v), error, "n: expected"
    for name in ("mark", "rewind", "drop_mark"):
        for value, error in ((None, TYPE), (5, TYPE), ("", INVALID), ("a\n", INVALID), ("x" * 129, INVALID)):
            call = lambda session, n=name, v=value: getattr(session, n)(v)  # noqa: E731
            yield f"{name} {value!r:.9}", call, error, "mark: expected"
    for value in (None, 5, "h"):
        yield f"set_state {value!r}", lambda session, v=value: session.set_state(v), TYPE, "state: expected a State"
    yield "set_state of {}", lambda session: session.set_state({}), INVALID, "state: model .* expects 'h'"
    yield from of_generations()


def of_generations() -> Iterator[Misuse]:
    """Of a model and of a session alike."""
    counts = ((0, INVALID), (-1, INVALID), (1.5, TYPE), (True, TYPE), ("2", TYPE))
    numbers = ((None, TYPE), ("1", TYPE), (True, TYPE), ([1.0], TYPE), (np.nan, INVALID), (np.inf, INVALID))
    odd: dict[str, tuple[Any, ...]] = {
        "top_k": counts,
        "beams": counts,
        "seed": ((-1, INVALID), (1 << 64, INVALID), (1.5, TYPE), ("1", TYPE)),
        "temperature": (*numbers, (-1.0, INVALID)),
        "top_p": (*numbers, (0.0, INVALID), (1.5, INVALID)),
        "repetition_penalty": (*numbers, (0.0, INVALID)),
        "length_penalty": numbers[:4],
        "stop": (("end", TYPE), (5, TYPE), ([1.5], TYPE), ([["a"]], TYPE), ([-1], INVALID)),
        "logit_bias": ((5, TYPE), ([1.0], TYPE), ({"a": 1.0}, TYPE), ({1: "a"}, TYPE)),
        "feedback": ((5, TYPE), ("output", TYPE), ({"input": 5}, TYPE), ({5: "output"}, TYPE)),
        "given": ((5, TYPE), ([X], TYPE), ({"nothing": X}, INVALID)),
        "timeout": BAD_TIMEOUTS,
    }
    for value, error in counts:
        yield f"generate {value!r}", lambda on, v=value: on.generate(v, prompt=X), error, "max_steps: expected"
    for name, values in odd.items():
        for value, error in values:
            call = lambda on, n=name, v=value: on.generate(2, **{"prompt": X, n: v})  # noqa: E731
            yield f"generate, {name} {value!r}", call, error, f"{name}: .*expected"
    for what, value, text in BAD_INPUTS:
        if value is not None:  # no prompt: that is fine
            yield f"generate from {what}", lambda on, v=value: on.generate(2, prompt=v), INVALID, text
    for option in ({"top_k": 2}, {"top_p": 0.5}, {"logit_bias": {1: 1.0}}, {"stop": [1]}):
        call = lambda on, o=option: on.generate(2, prompt=X, **o)  # noqa: E731
        yield f"generate values with {option!r}", call, INVALID, "none are drawn here|no tokens are drawn here"
    yield "generate, an unknown option", lambda on: on.generate(2, prompt=X, temprature=1.0), TYPE, "got temprature"
    for value, error in ((5, TYPE), ("nothing", INVALID)):
        yield f"score of {value!r}", lambda on, v=value: on.score(X, X, output=v), error, "output: expected"
    for value, error in BAD_TIMEOUTS:
        yield f"score, timeout {value!r}", lambda on, v=value: on.score(X, X, timeout=v), error, "timeout: expected"
    yield "score of other targets", lambda on: on.score(X, np.zeros((9, 2))), INVALID, "targets: expected"


def of_pool() -> Iterator[Misuse]:
    for what, value, text in BAD_INPUTS:
        if what not in ("a scalar", "no steps"):  # whose message is the pool's own, below
            yield f"step of {what}", lambda pool, v=value: pool.step(v), INVALID, text
    for what, value in (("a scalar", 1.0), ("one row", np.zeros((1, 1, 2))), ("three", np.zeros((1, 3, 2)))):
        yield f"step of {what}", lambda pool, v=value: pool.step(v), INVALID, r"expects \[T, 2, 2\].*; got"
    rows = [np.zeros((1, 2), np.float32)]
    yield "a list for one row", lambda pool: pool.step(rows), INVALID, "expected 2 arrays, one per session, got 1"
    yield "a row of no steps", lambda pool: pool.step([*rows, np.zeros((0, 2))]), INVALID, r"x\[1\]: .*T >= 1"
    yield "more rows than picked", lambda pool: pool.step(Y, rows=[1]), INVALID, r"expects \[T, 1, 2\].*; got"
    for value in ([], [2], [-1], [0, 0], [0.5], [True], "abc", 1, {"a": 1}, [[0], [1, 2]], [None], [[0, 1]]):
        yield f"rows {value!r}", lambda pool, v=value: pool.step(Y, rows=v), INVALID, "rows: expected"
    yield from options("step", lambda pool, **some: pool.step(Y, **some))


CASES = [
    pytest.param(kind, call, error, text, id=f"{kind}: {what}".encode("ascii", "backslashreplace").decode())
    for kind, cases in {"client": of_client, "model": of_model, "session": of_session, "pool": of_pool}.items()
    for what, call, error, text in cases()
]


async def outcome(value: Any) -> None:
    """Waits for whatever an asynchronous call gives."""
    if hasattr(value, "__aiter__"):
        async for _ in value:
            pass
    else:
        await value


def test_every_call_that_takes_arguments_is_in_the_table():
    takes = {
        cls.__name__: {
            name
            for name, method in inspect.getmembers(cls, inspect.isfunction)
            if name[0] != "_" and len(inspect.signature(method).parameters) > 1
        }
        for cls in (elman.Client, elman.Model, elman.Session, elman.SessionPool)
    }
    assert takes == {
        "Client": {"model", "is_ready"},
        "Model": {"session", "sessions", "import_session", "infer", "end_sessions", "move", "generate", "score"},
        "Session": {"drop_mark", "fork", "mark", "rewind", "set_state", "step", "stream", "generate", "score"},
        "SessionPool": {"step"},
    }


@pytest.mark.parametrize(("kind", "call", "error", "text"), CASES)
def test_misuse_is_told_what_was_expected_in_threads(misused, kind, call, error, text):
    def run() -> None:
        value = call(misused[kind])
        if inspect.isgenerator(value) or isinstance(value, elman.Generation):
            list(value)

    with pytest.raises(error) as caught:
        run()
    check(caught.value, error, text)


@pytest.mark.parametrize(("kind", "call", "error", "text"), CASES)
def test_misuse_is_told_what_was_expected_in_coroutines(amisused, kind, call, error, text):
    runner, things = amisused

    async def run() -> None:
        await outcome(call(things[kind]))

    with pytest.raises(error) as caught:
        runner.run(asyncio.wait_for(run(), 120))
    check(caught.value, error, text)


def check(raised: BaseException, error: type[Exception], text: str) -> None:
    assert isinstance(raised, elman.ElmanError) or type(raised) is TypeError
    assert re.search(text, str(raised)), f"{text!r} is not in {str(raised)!r}"
    if error is TYPE:
        assert not isinstance(raised, elman.ElmanError)


@pytest.fixture(scope="module")
def misused(started_server):
    """What a user has in hand, for threads; after all misuse, nothing of it was applied and it works."""
    with elman.Client(started_server.address, timeout=60) as client:
        model = client.model("lstm")
        with model.session() as session, model.sessions(2) as pool:
            yield {"client": client, "model": model, "session": session, "pool": pool}
            assert session.position == 0
            assert pool.positions == (0, 0)
            session.step(X)
            pool.step(Y)
        assert not NAMED & {one.id for one in model.list_sessions()}


@pytest.fixture(scope="module")
def amisused(started_server):
    """The same, for coroutines."""
    with asyncio.Runner() as runner:

        async def begin() -> dict[str, Any]:
            client = elman.AsyncClient(started_server.address, timeout=60)
            model = await client.model("lstm")
            return {"client": client, "model": model, "session": await model.session(), "pool": await model.sessions(2)}

        async def finish(things: dict[str, Any]) -> None:
            assert things["session"].position == 0
            assert things["pool"].positions == (0, 0)
            await things["session"].step(X)
            await things["pool"].step(Y)
            await things["session"].close()
            await things["pool"].close()
            assert not NAMED & {one.id async for one in things["model"].list_sessions()}
            await things["client"].close()

        things = runner.run(begin())
        yield runner, things
        runner.run(finish(things))
