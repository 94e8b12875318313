"""The calls of the Sessions service, and how each refuses."""

import numpy as np
import pytest
from refusals import Refusal, refusal_of
from served import Serve, Served
from stepped_engine import FakeClock
from toys import SPECS, assert_near, random_input, toy

from elman import wire
from elman.v1 import sessions_pb2 as pb

NEW, RESUME, RESUME_OR_NEW = pb.OPEN_MODE_NEW, pb.OPEN_MODE_RESUME, pb.OPEN_MODE_RESUME_OR_NEW
RNG = np.random.default_rng(8)
SPEC = SPECS["lstm"]


@pytest.mark.parametrize(
    ("request_", "code", "reason", "says"),
    [
        (pb.OpenSessionsRequest(model="nope", count=1), "NOT_FOUND", "UNKNOWN_MODEL", ("'nope'", "bi_lstm, lstm")),
        (
            pb.OpenSessionsRequest(model="lstm", version="9", count=1),
            "NOT_FOUND",
            "UNKNOWN_MODEL",
            ("'9'", "loaded: 1"),
        ),
        (pb.OpenSessionsRequest(model="bi_lstm", count=1), "FAILED_PRECONDITION", "NO_SESSIONS", ("Infer",)),
        (pb.OpenSessionsRequest(model="lstm"), "INVALID_ARGUMENT", "INVALID_INPUT", ("1 to 65536", "got 0")),
        (
            pb.OpenSessionsRequest(model="lstm", count=1, session_ids=["a"]),
            "INVALID_ARGUMENT",
            "INVALID_INPUT",
            ("both",),
        ),
        (pb.OpenSessionsRequest(model="lstm", count=65537), "INVALID_ARGUMENT", "INVALID_INPUT", ("65536", "65537")),
        (
            pb.OpenSessionsRequest(model="lstm", session_ids=["a", "a"]),
            "INVALID_ARGUMENT",
            "INVALID_INPUT",
            ("repeated",),
        ),
        (pb.OpenSessionsRequest(model="lstm", session_ids=[""]), "INVALID_ARGUMENT", "INVALID_INPUT", ("1 to 128",)),
        (pb.OpenSessionsRequest(model="lstm", session_ids=["x" * 129]), "INVALID_ARGUMENT", "INVALID_INPUT", ("128",)),
        (pb.OpenSessionsRequest(model="lstm", session_ids=["a\n"]), "INVALID_ARGUMENT", "INVALID_INPUT", ("1 to 128",)),
        (pb.OpenSessionsRequest(model="lstm", count=1, mode=9), "INVALID_ARGUMENT", "INVALID_INPUT", ("0 to 3", "9")),
        (pb.OpenSessionsRequest(model="lstm", count=1, mode=2), "INVALID_ARGUMENT", "INVALID_INPUT", ("NEW",)),
        (pb.OpenSessionsRequest(model="lstm", count=1, server_instance="old"), "ABORTED", "RE_ATTACH", ("old",)),
        (
            pb.AttachSessionsRequest(model="lstm", session_ids=["a"], server_instance="x"),
            "ABORTED",
            "RE_ATTACH",
            ("x",),
        ),
        (pb.CloseSessionsRequest(model="nope", session_ids=["a"]), "NOT_FOUND", "UNKNOWN_MODEL", ("nope",)),
        (pb.CloseSessionsRequest(model="lstm"), "INVALID_ARGUMENT", "INVALID_INPUT", ("got 0",)),
        (pb.DescribeSessionRequest(model="lstm", session_id="no"), "NOT_FOUND", "UNKNOWN_SESSION", ("'no'",)),
        (pb.ListSessionsRequest(model="lstm", page_size=-1), "INVALID_ARGUMENT", "INVALID_INPUT", ("page_size", "-1")),
        (pb.ListSessionsRequest(model="lstm", page_token="x"), "INVALID_ARGUMENT", "INVALID_INPUT", ("page_token",)),
    ],
)
async def test_a_call_that_is_wrong_is_refused_with_what_was_expected(
    serve: Serve, request_: object, code: str, reason: str, says: tuple[str, ...]
) -> None:
    served = await serve("lstm", "bi_lstm")
    method = getattr(served.sessions, type(request_).__name__.removesuffix("Request"))
    refusal = await refusal_of(method(request_))
    assert (refusal.code, refusal.reason) == (code, reason)
    assert all(text in refusal.message for text in says), refusal.message
    assert refusal.retry_seconds is None
    assert (await served.open("lstm", count=1)).positions == [0]


async def test_ids_are_new_resumed_or_either_as_the_mode_says(serve: Serve) -> None:
    served = await serve("lstm")
    opened = await served.open("lstm", "a")
    await (await served.step()).ask(opened.handles, [random_input(SPEC, RNG, 5)])
    again = await served.sessions.OpenSessions(pb.OpenSessionsRequest(model="lstm", session_ids=["b", "a"], mode=NEW))
    assert [error.index for error in again.errors] == [1]
    exists = Refusal.of(again.errors[0].status)
    assert (exists.code, exists.reason, exists.says) == ("ALREADY_EXISTS", "SESSION_EXISTS", {"position": "5"})
    assert again.handles[1] == 0
    assert list(again.resumed) == [False, False]
    resumed = await served.sessions.OpenSessions(
        pb.OpenSessionsRequest(model="lstm", session_ids=["a", "c"], mode=RESUME)
    )
    assert (resumed.positions[0], resumed.versions[0]) == (5, "1")
    assert list(resumed.resumed) == [True, False]
    unknown = Refusal.of(resumed.errors[0].status)
    assert (unknown.code, unknown.reason) == ("NOT_FOUND", "UNKNOWN_SESSION")
    either = await served.open("lstm", "a", "c", mode=RESUME_OR_NEW)
    assert list(either.positions) == [5, 0]
    assert list(either.resumed) == [True, False]
    assert either.replay_chunks == 8
    assert either.idle_timeout.seconds == 3600


async def test_an_expired_session_says_when_and_where_and_never_starts_over_silently(serve: Serve) -> None:
    clock = FakeClock()
    served = await serve("lstm", clock=clock, idle_timeout_seconds=5)
    stepper = await served.step()
    opened = await served.open("lstm", "gone", "kept")
    await stepper.ask(opened.handles, [random_input(SPEC, RNG, 3)] * 2)
    clock.time += 4
    await stepper.ask(opened.handles[1:], [random_input(SPEC, RNG, 1)])
    clock.time += 2
    await served.expire()
    ask = await stepper.ask(opened.handles, [random_input(SPEC, RNG, 1)] * 2)
    assert ask.rows[1].position == 5
    tried = await served.sessions.OpenSessions(
        pb.OpenSessionsRequest(model="lstm", session_ids=["gone"], mode=RESUME_OR_NEW)
    )
    described = await refusal_of(
        served.sessions.DescribeSession(pb.DescribeSessionRequest(model="lstm", session_id="gone"))
    )
    for refusal in (ask.rows[0].error, Refusal.of(tried.errors[0].status), described):
        assert refusal
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "SESSION_EXPIRED")
        assert refusal.says["position"] == "3"
        assert refusal.says["end_time"] in refusal.message
        assert "open it as NEW" in refusal.message
    assert list((await served.open("lstm", "gone")).positions) == [0]
    assert sample(served, "elman_sessions_ended_total", reason="expired") == 1
    assert sample(served, "elman_session_lifetime_seconds_sum") == 6
    assert sample(served, "elman_session_idle_before_eviction_seconds_sum") == 6


def sample(served: Served, name: str, **labels: str) -> float | None:
    return served.server.metrics.registry.get_sample_value(name, {"model": "lstm", "version": "1"} | labels)


async def test_only_so_many_of_the_expired_are_remembered(serve: Serve) -> None:
    clock = FakeClock()
    served = await serve("lstm", clock=clock, idle_timeout_seconds=5, max_tombstones=2)
    reasons = []
    for session_id in "abc":
        await served.open("lstm", session_id)
        clock.time += 6
        await served.expire()
    for session_id in "abc":
        request = pb.DescribeSessionRequest(model="lstm", session_id=session_id)
        reasons.append((await refusal_of(served.sessions.DescribeSession(request))).reason)
    assert reasons == ["UNKNOWN_SESSION", "SESSION_EXPIRED", "SESSION_EXPIRED"]


async def test_at_the_session_limit_the_idle_are_evicted_or_the_new_refused(serve: Serve) -> None:
    clock = FakeClock()
    evicting = await serve("lstm", clock=clock, max_sessions=2, when_full="evict")
    old = await evicting.open("lstm", "old")
    clock.time += 1
    await evicting.open("lstm", "newer")
    clock.time += 1
    await evicting.open("lstm", "newest")
    stepper = await evicting.step()
    ask = await stepper.ask(old.handles, [random_input(SPEC, RNG, 1)])
    assert ask.rows[0].error
    assert ask.rows[0].error.reason == "SESSION_EXPIRED"
    assert "evicted" in ask.rows[0].error.message
    assert sample(evicting, "elman_sessions_ended_total", reason="evicted") == 1
    assert sample(evicting, "elman_session_idle_before_eviction_seconds_sum") == 2
    refusing = await serve("lstm", max_sessions=2)
    opened = await refusing.sessions.OpenSessions(pb.OpenSessionsRequest(model="lstm", count=3))
    assert [error.index for error in opened.errors] == [2]
    full = Refusal.of(opened.errors[0].status)
    assert (full.code, full.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED")
    assert "max_sessions is 2" in full.message
    assert full.retry_seconds
    ask = await (await refusing.step()).ask(opened.handles[:2], [random_input(SPEC, RNG, 1)] * 2)
    assert [row.position for row in ask.rows] == [1, 1]


async def test_attaching_makes_older_handles_stale_and_tells_the_position(serve: Serve) -> None:
    served = await serve("lstm")
    opened = await served.open("lstm", "a")
    stepper = await served.step()
    await stepper.ask(opened.handles, [random_input(SPEC, RNG, 3)])
    attached = await served.sessions.AttachSessions(pb.AttachSessionsRequest(model="lstm", session_ids=["a", "b"]))
    assert list(attached.positions) == [3, 0]
    assert [error.index for error in attached.errors] == [1]
    assert attached.handles[0] != opened.handles[0]
    stale = await stepper.ask(opened.handles, [random_input(SPEC, RNG, 1)])
    assert stale.rows[0].error
    assert stale.rows[0].error.reason == "STALE_HANDLE"
    good = await stepper.ask(attached.handles[:1], [random_input(SPEC, RNG, 1)])
    assert good.rows[0].position == 4


async def test_closing_ends_sessions_at_their_positions_and_frees_the_ids(serve: Serve) -> None:
    served = await serve("lstm")
    opened = await served.open("lstm", "a", "b")
    stepper = await served.step()
    await stepper.ask(opened.handles[:1], [random_input(SPEC, RNG, 20)])
    closed = await served.sessions.CloseSessions(pb.CloseSessionsRequest(model="lstm", session_ids=["a", "no", "b"]))
    assert list(closed.positions) == [20, 0, 0]
    assert [(error.index, Refusal.of(error.status).reason) for error in closed.errors] == [(1, "UNKNOWN_SESSION")]
    stale = await stepper.ask(opened.handles[:1], [random_input(SPEC, RNG, 1)])
    assert stale.rows[0].error
    assert stale.rows[0].error.reason == "STALE_HANDLE"
    assert list((await served.open("lstm", "a")).positions) == [0]


@pytest.mark.parametrize("name", ["lstm_proj", "gru"])
async def test_a_session_is_described_with_its_state(serve: Serve, name: str) -> None:
    served = await serve(name)
    data = random_input(SPECS[name], RNG, 7)
    opened = await served.open(name, "a")
    stepper = await served.step()
    await stepper.ask(opened.handles, [data])
    described = await served.sessions.DescribeSession(
        pb.DescribeSessionRequest(model=name, session_id="a", return_state=True)
    )
    info = described.session
    assert (info.model, info.version, info.session_id, info.position, info.admitted) == (name, "1", "a", 7, 7)
    assert info.expire_time.ToNanoseconds() - info.use_time.ToNanoseconds() == 3600 * 10**9
    _, h_n, c_n = toy(name).run(data)
    assert_near(wire.from_tensor(described.h_n)[:, 0], h_n)
    assert described.HasField("c_n") == (c_n is not None)


async def test_sessions_are_listed_once_each_page_by_page(serve: Serve) -> None:
    served = await serve("lstm")
    ids = [f"s{i}" for i in range(23)]
    await served.open("lstm", *ids)
    for size in (1, 5, 22, 23, 0):
        found, token = [], ""
        while True:
            page = await served.sessions.ListSessions(
                pb.ListSessionsRequest(model="lstm", page_size=size, page_token=token)
            )
            assert len(page.sessions) <= (size or 100)
            found += [session.session_id for session in page.sessions]
            token = page.next_page_token
            if not token:
                break
        assert sorted(found) == sorted(ids)
