"""What clients, models, sessions and pools say they are."""

import numpy as np

import elman

STEPS = np.zeros((3, 2), np.float32)


def test_everything_says_what_it_is_and_whether_it_is_open(address):
    client = elman.Client(address)
    assert repr(client) == f"<elman.Client {address}, open>"
    model = client.model("sum")
    assert repr(model) == f"<elman.Model 'sum' version '1' at {address}: gru, 1 layer of 2>"
    assert repr(client.model("both-ways")).endswith("gru, 1 layer of 2, bidirectional>")
    session, pool = model.session("user-42"), model.sessions(2)
    session.step(STEPS)
    pool.step(STEPS[:, np.newaxis], rows=[1])
    assert repr(session) == f"<elman.Session 'user-42' on model 'sum' version '1' at {address}, position 3, open>"
    assert repr(pool) == f"<elman.SessionPool of 2 on model 'sum' version '1' at {address}, positions 0 to 3, open>"
    pool.close()
    assert repr(pool).endswith("positions 0 to 3, closed>")
    client.close()
    assert repr(client) == f"<elman.Client {address}, closed>"
    assert repr(session).endswith("position 3, closed>")
    assert repr(model)


async def test_the_asynchronous_ones_do_the_same(address):
    client = elman.AsyncClient(address)
    model = await client.model("sum")
    async with model.session("user-42") as session, model.sessions(2) as pool:
        await pool.step(STEPS[:2])
        at = f"on model 'sum' version '1' at {address}"
        assert repr(session) == f"<elman.AsyncSession 'user-42' {at}, position 0, open>"
        assert repr(pool) == f"<elman.AsyncSessionPool of 2 {at}, position 1, open>"
    assert repr(session) == f"<elman.AsyncSession 'user-42' {at}, position 0, closed>"
    assert repr(model).startswith("<elman.AsyncModel 'sum' version '1'")
    await client.close()
    assert repr(client) == f"<elman.AsyncClient {address}, closed>"


def test_a_closed_session_tells_its_own_position_whatever_took_its_place(client):
    model = client.model("sum")
    with model.session() as first, model.sessions(2) as pool:
        first.step(STEPS)
        pool.step(STEPS[:2])
    with model.sessions(100) as others:
        others.step(np.zeros((5, 100, 2)))
        assert first.position == 3
        assert pool.positions == (1, 1)
