"""Bars that show how far something long is, where they are asked for."""

import builtins
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tqdm.auto
from leaky import leaky_sum

import elman

X = np.random.default_rng(0).random((60_000, 2), np.float32)
MANY = 20


class Bar:
    """Stands for tqdm's."""

    def __init__(self, **options: Any) -> None:
        self.options, self.moves, self.is_closed = options, [], False
        bars.append(self)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True

    def update(self, steps: int) -> None:
        self.moves.append(steps)


bars: list[Bar] = []


@pytest.fixture(autouse=True)
def bar(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    bars.clear()
    yield
    bars.clear()


def assert_shown(num_steps: int) -> None:
    """By one bar, which moved often and to its end."""
    (bar,) = bars
    assert bar.is_closed
    assert bar.options["total"] == sum(bar.moves) == num_steps
    assert len(bar.moves) >= MANY


def test_a_long_step_shows_how_far_it_is_and_gives_the_same(any_client):
    model, expected = any_client.model("sum"), leaky_sum(X)
    with model.session() as session:
        result = session.step(X, state=True, progress=True)
    assert np.allclose(result.output, expected, rtol=1e-5)
    assert np.allclose(result.state.h_n[0, 0], expected[-1], rtol=1e-5)
    assert result.state.position == len(X)
    assert_shown(len(X))


def test_a_long_step_of_a_pool_shows_how_far_it_is(any_client):
    x = X.reshape(-1, 3, 2)
    with any_client.model("sum").sessions(3) as pool:
        output = pool.step(x, progress=True)
    assert np.allclose(output, np.stack([leaky_sum(x[:, row]) for row in range(3)], 1), rtol=1e-5)
    assert_shown(len(X))


@pytest.mark.parametrize("rows", [1, 3000], ids=["long", "many"])
def test_a_long_inference_shows_how_far_it_is(any_client, rows):
    x = X.reshape(-1, rows, 2)
    output, _ = any_client.model("sum").infer(x, progress=True)
    assert np.allclose(output[:, -1], leaky_sum(x[:, -1]), rtol=1e-5)
    assert_shown(len(X))


async def test_coroutines_see_the_same(any_aclient):
    model = await any_aclient.model("sum")
    async with model.session() as session, model.sessions(3) as pool:
        await session.step(X, progress=True)
        assert_shown(len(X))
        bars.clear()
        await pool.step(X.reshape(-1, 3, 2), progress=True)
        assert_shown(len(X))
        bars.clear()
        await model.infer(X, progress=True)
        assert_shown(len(X))


def test_what_would_travel_at_once_is_cut_so_that_the_bar_moves(client):
    model = client.model("sum")
    with model.session() as session, model.sessions(3) as pool:
        for call in (
            lambda: session.step(X[:30_000], progress=True),
            lambda: pool.step(X[:30_000].reshape(-1, 3, 2), progress=True),
            lambda: model.infer(X[:30_000], progress=True),
            lambda: model.infer(X[:30_000].reshape(-1, 300, 2), progress=True),
        ):
            bars.clear()
            call()
            assert_shown(30_000)


def test_a_bar_is_closed_where_the_step_fails(any_client):
    x = X.copy()
    x[40_000] = np.nan
    with any_client.model("sum").session() as session, pytest.raises(elman.InvalidInputError):
        session.step(x, progress=True)
    assert bars[0].is_closed


def test_short_things_are_not_cut_for_it(client, server):
    with client.model("sum").session() as session:
        session.step(X[:200], progress=True)
    assert server.frame_rows == [1]
    assert bars[0].moves == [200]


@pytest.mark.parametrize("kind", ["step", "pool", "infer"])
async def test_without_tqdm_the_extra_is_named_and_nothing_is_sent(client, aclient, server, monkeypatch, kind):
    real_import = builtins.__import__

    def without_tqdm(name: str, *rest: Any) -> Any:
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    model, amodel = client.model("sum"), await aclient.model("sum")
    with model.session() as session, model.sessions(2) as pool:
        call = {
            "step": lambda: session.step(X[:1], progress=True),
            "pool": lambda: pool.step(X[:2], progress=True),
            "infer": lambda: model.infer(X[:1], progress=True),
        }[kind]
        with pytest.raises(elman.MissingExtraError, match=r"elman\[progress\]"):
            call()
        assert session.position == 0
    with pytest.raises(ImportError, match=r"elman\[progress\]"):
        await amodel.infer(X[:1], progress=True)
    assert not server.frame_rows


def test_a_real_bar_is_drawn(client, monkeypatch, capsys):
    monkeypatch.undo()
    with client.model("sum").session() as session:
        session.step(X[:600], progress=True)
    assert "600/600" in capsys.readouterr().err
