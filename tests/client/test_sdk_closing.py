"""What leaving a `with` ends, and what it lets go of."""

import asyncio
import subprocess
import sys
import threading

import numpy as np
import pytest

import elman


def test_a_session_of_the_servers_naming_ends_with_its_block(client, server):
    with client.model("sum").session() as session:
        assert server.session_ids() == [session.id]
    assert server.session_ids() == []


def test_a_session_of_the_callers_naming_lives_on_and_is_resumed(client, server):
    model = client.model("sum")
    with model.session(id="user-42") as session:
        session.step([1, 0])
    assert server.session_ids() == ["user-42"]
    with model.session(id="user-42") as session:
        assert session.position == 1
        assert session.step([1, 0]).tolist() == [1.5, 0]


async def test_closing_waits_for_steps_under_way(aclient, server):
    session = await (await aclient.model("sum")).session(id="mine")
    server.hold()
    step = asyncio.ensure_future(session.step([1, 0]))
    await asyncio.to_thread(server.wait_for, lambda: len(server.frame_rows) == 1)
    closing = asyncio.ensure_future(session.close())
    await asyncio.sleep(0)
    assert not closing.done()
    server.release()
    await closing
    assert (await step).tolist() == [1, 0]


def test_a_closed_session_is_not_stepped(client):
    with client.model("sum").session() as session:
        pass
    with pytest.raises(elman.ClosedError):
        session.step([1, 0])
    with pytest.raises(elman.ClosedError):
        session.state()
    session.close()
    pool = client.model("sum").sessions(2)
    pool.close()
    with pytest.raises(elman.ClosedError):
        pool.step(np.zeros((2, 2)))


def test_a_session_that_is_gone_closes_quietly(client, server):
    with client.model("sum").session() as session:
        server.expire(session.id)


def test_an_error_in_the_block_is_not_hidden_by_closing(server):
    def fail(client: elman.Client) -> None:
        with client.model("sum").session():
            server.stop()
            raise ZeroDivisionError

    with server as address, elman.Client(address, retry=None) as client, pytest.raises(ZeroDivisionError):
        fail(client)


async def test_steps_under_way_fail_when_the_client_closes(server):
    with server as address:
        async with elman.AsyncClient(address) as client:
            session = await (await client.model("sum")).session()
            server.hold()
            step = asyncio.ensure_future(session.step([1, 0]))
            await asyncio.to_thread(server.wait_for, lambda: len(server.frame_rows) == 1)
        with pytest.raises(elman.ClosedError):
            await step
        with pytest.raises(elman.ClosedError):
            await session.step([1, 0])
        with pytest.raises(elman.ClosedError):
            await client.models()


def test_threads_that_wait_are_woken_when_the_client_closes(server):
    raised: list[BaseException] = []

    def wait(session: elman.Session) -> None:
        with pytest.raises(elman.ClosedError) as caught:
            session.step([1, 0])
        raised.append(caught.value)

    with server as address:
        client = elman.Client(address)
        session = client.model("sum").session()
        server.hold()
        thread = threading.Thread(target=wait, args=(session,))
        thread.start()
        server.wait_for(lambda: len(server.frame_rows) == 1)
        client.close()
        thread.join()
        client.close()
        for call in (client.models, lambda: session.step([1, 0]), lambda: client.model("sum")):
            with pytest.raises(elman.ClosedError):
                call()
    assert len(raised) == 1


def test_a_client_that_was_never_used_closes():
    elman.Client("127.0.0.1:1").close()
    with elman.Client("127.0.0.1:1"):
        pass


def test_no_thread_is_left_behind(server):
    before = {thread.name for thread in threading.enumerate()}
    with server as address, elman.Client(address) as client:
        client.models()
        assert "elman-client" in {thread.name for thread in threading.enumerate()} - before
    assert "elman-client" not in {thread.name for thread in threading.enumerate()}


async def test_an_error_while_opening_leaves_nothing_open(aclient, server):
    with pytest.raises(elman.UnsupportedError):
        async with (await aclient.model("both-ways")).session():
            pytest.fail("a bidirectional model has no sessions")
    assert server.session_ids("both-ways") == []


def test_a_program_that_forgets_to_close_ends_quietly(address):
    code = f"import elman; session = elman.Client({address!r}).model('sum').session(); print(session.step([1, 0]))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1. 0.]"
    assert "Traceback" not in done.stderr
