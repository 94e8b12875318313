"""What waits to be sent: in order, within windows, all of it in the end, and looked at only where something changed."""

import random

import numpy as np
import pytest

from elman._shared.deadline import NEVER
from elman._stepping.answers import thread_future
from elman._stepping.chunks import Chunk, PoolChunk
from elman._stepping.frame_builder import FrameBuilder
from elman._stepping.options import FrameKey
from elman._stepping.send_queue import SendQueue
from elman._stepping.session_table import SessionTable

KEY = FrameKey("m", "1", 1, 1, False, None)
WINDOW = 2
SERVER = 0


class Sender:
    """A send queue with sessions that are attached, and what went out of it."""

    def __init__(self, num_sessions: int) -> None:
        self.table = SessionTable()
        self.sessions = self.table.add("m", [str(number) for number in range(num_sessions)], WINDOW)
        self.table.attach(self.sessions, np.zeros(num_sessions, np.uint64), SERVER, 1)
        self.table.begins[self.sessions] = 0
        self.send_queue = SendQueue(self.table, 1 << 20)
        self.sent: dict[int, list[int]] = {int(session): [] for session in self.sessions}

    def put(self, *sessions: int) -> None:
        """A step of one session, or a pool chunk of many."""
        rows = self.sessions[list(sessions)]
        values = np.zeros((len(rows), 2), np.float32)
        if len(rows) == 1:
            chunk: Chunk | PoolChunk = Chunk(KEY, int(rows[0]), values, thread_future(), NEVER)
        else:
            chunk = PoolChunk(KEY, rows, np.ones(len(rows), np.intp), values, thread_future(), NEVER)
        chunk.reserve(self.table)
        self.send_queue.put(chunk)

    def gather(self, is_crowded: bool = False) -> int:
        """How many rows went."""
        frames, unattached = self.send_queue.gather(SERVER, is_crowded)
        assert not unattached
        for frame in frames:
            assert len(set(frame.sessions.tolist())) == len(frame.sessions)
            for session, begin in zip(frame.sessions.tolist(), frame.begins.tolist(), strict=True):
                self.sent[session].append(begin)
        assert (self.table.in_flight[self.sessions] <= WINDOW).all()
        return sum(len(frame.sessions) for frame in frames)

    def end(self, *sessions: int) -> None:
        """One chunk each has ended."""
        rows = self.sessions[list(sessions)]
        self.table.in_flight[rows] -= 1
        self.send_queue.note_ended(rows.tolist())


@pytest.mark.parametrize("seed", range(20))
def test_all_goes_in_each_sessions_order_whatever_ends_when(seed):
    chance = random.Random(seed)
    sender = Sender(6)
    num_steps = [0] * 6
    for _ in range(200):
        for _ in range(chance.randrange(4)):
            picked = chance.sample(range(6), chance.choice((1, 1, 1, 2, 4, 6)))
            sender.put(*picked)
            for number in picked:
                num_steps[number] += 1
        sender.gather(is_crowded=chance.random() < 0.5)
        for number in range(6):
            if sender.table.in_flight[sender.sessions[number]] and chance.random() < 0.5:
                sender.end(number)
    while len(sender.send_queue):
        went = sender.gather()
        in_flight = [number for number in range(6) if sender.table.in_flight[sender.sessions[number]]]
        assert went or in_flight
        sender.end(*in_flight)
    for number, session in enumerate(sender.sessions.tolist()):
        assert sender.sent[session] == list(range(num_steps[number]))


@pytest.fixture
def looks(monkeypatch):
    """What was looked at."""
    seen: list[object] = []
    add = FrameBuilder.add
    monkeypatch.setattr(FrameBuilder, "add", lambda self, chunk: seen.append(chunk) or add(self, chunk))
    return seen


def test_a_wake_costs_what_is_sent_and_what_has_ended_however_much_waits(looks):
    sender = Sender(50)
    for _ in range(100):
        for number in range(50):
            sender.put(number)
    sender.gather()
    looks.clear()
    for number in range(50):
        sender.end(number)
        assert sender.gather() == 1
    assert len(looks) <= 2 * 50
    looks.clear()
    sender.gather()
    assert not looks
    assert len(sender.send_queue) == 50 * (100 - WINDOW - 1)


def test_pool_chunks_that_wait_are_looked_at_once_a_wake(looks):
    sender = Sender(64)
    for _ in range(20):
        sender.put(*range(64))
    assert sender.gather() == WINDOW * 64
    looks.clear()
    sender.end(*range(64))
    assert sender.gather() == 64
    assert len(looks) == 2


def test_draining_one_session_takes_its_pool_chunks_whole_and_lets_others_go():
    sender = Sender(3)
    for _ in range(WINDOW):
        sender.put(0)
        sender.put(1)
    sender.put(0, 1)
    sender.put(1)
    sender.put(1, 2)
    sender.gather()
    taken = sender.send_queue.drain(int(sender.sessions[0]))
    assert [type(chunk) for chunk in taken] == [PoolChunk]
    assert len(sender.send_queue) == 2
    sender.end(1)
    assert sender.gather() == 1
    sender.end(1)
    assert sender.gather() == 2
    assert not len(sender.send_queue)
