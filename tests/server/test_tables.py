"""The small tables: ring, chunks, counted objects, handles, tombstones, versions."""

from collections import deque

import numpy as np
import pytest
from forged import flipped
from hypothesis import given
from hypothesis import strategies as st

from elman_server.exchange.versions import version_key
from elman_server.scheduling.chunks import Chunks
from elman_server.sessions.handles import HandleKey, decipher, encipher, slots_of
from elman_server.sessions.table import Sessions, find
from elman_server.sessions.tombstones import Tombstone, Tombstones
from elman_server.tables.ref_counts import RefCounted
from elman_server.tables.slot_fifo import SlotFifo


@given(st.integers(1, 7), st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40))
def test_a_ring_is_a_queue(capacity: int, actions: list[tuple[bool, int]]) -> None:
    ring, queue, following = SlotFifo(capacity), deque[int](), 0
    for push, count in actions:
        if push and len(queue) + count <= capacity:
            items = np.arange(following, following + count)
            following += count
            ring.push(items)
            queue.extend(items.tolist())
        elif not push:
            assert ring.pop(count).tolist() == [queue.popleft() for _ in range(min(count, len(queue)))]
        assert len(ring) == len(queue)


def test_a_ring_takes_no_more_than_it_holds() -> None:
    ring = SlotFifo(2)
    ring.push(np.array([1, 2]))
    with pytest.raises(OverflowError, match="ring of 2"):
        ring.push(np.array([3]))


@given(st.lists(st.integers(0, 6), max_size=30))
def test_chunk_numbers_are_given_out_once_until_they_come_back(counts: list[int]) -> None:
    chunks, out = Chunks(10), list[int]()
    for count in counts:
        if count <= len(chunks.free):
            numbers = [chunks.take() for _ in range(count)]
            assert not set(numbers) & set(out)
            out += numbers
        else:
            chunks.release(out[::2])
            out = out[1::2]
        assert chunks.free.num_taken == len(out)
        assert np.flatnonzero(chunks["live"]).tolist() == sorted(out)


def test_no_more_chunks_are_given_out_than_there_are() -> None:
    chunks = Chunks(1)
    chunks.take()
    with pytest.raises(OverflowError, match="all 1 numbers are taken"):
        chunks.take()


def test_a_counted_object_goes_with_its_last_reference() -> None:
    counted: RefCounted[str] = RefCounted(3)
    a, b = counted.put("a", 3), counted.put("b", 1)
    counted.release(a, 2)
    counted.release(b)
    assert counted == {a: "a"}
    counted.release(a)
    assert not counted
    assert len({counted.put(name, 1) for name in "xyz"}) == 3


@given(st.integers(0, 1023), st.lists(st.tuples(st.integers(0, 2**24 - 1), st.integers(0, 2**40)), min_size=1))
def test_a_handle_tells_its_model_and_slot_under_its_own_key_alone(model: int, parts: list[tuple[int, int]]) -> None:
    key = HandleKey()
    slots, counts = np.array([slot for slot, _ in parts]), np.array([count for _, count in parts])
    handles = key.pack(model, slots, counts)
    assert (key.models(handles) == model).all()
    assert slots_of(handles, key.rounds).tolist() == slots.tolist()
    assert [key.model(int(handle)) for handle in handles] == [model] * len(parts)
    distinct = {(slot, count % 2**30) for slot, count in parts}
    assert len(np.unique(handles)) == len(distinct)


def good(sessions: Sessions, handles: np.ndarray) -> list[bool]:
    return [slot >= 0 for slot in find(handles, sessions.key.rounds, sessions.table)]


def test_handles_of_earlier_attachments_other_slots_and_other_processes_are_not_good() -> None:
    sessions, other = Sessions(0, HandleKey(), 4, 2), Sessions(0, HandleKey(), 4, 2)
    slots = sessions.take(2, 0.0)
    sessions.own(slots, "p", ["a", "b"])
    first = sessions.attach(slots, 0.0).copy()
    second = sessions.attach(slots[:1], 0.0)
    assert good(sessions, first) == [False, True]
    assert good(sessions, second) == [True]
    lent = other.take(2, 0.0)
    other.own(lent, "p", ["a", "b"])
    assert not any(good(sessions, other.attach(lent, 0.0)))
    sessions.free(slots)
    assert not any(good(sessions, np.concatenate([first, second])))
    assert (sessions.num_open, sessions.num_free) == (0, 6)


def test_handles_are_enciphered_as_the_cipher_s_paper_says() -> None:
    key = HandleKey([0x1B1A1918, 0x13121110, 0x0B0A0908, 0x03020100])  # its test vector
    plain, ciphered = np.array([0x3B7265747475432D], np.uint64), np.array([0x8C6FA548454E028B], np.uint64)
    assert encipher(plain, key.rounds) == ciphered
    assert decipher(ciphered, key.rounds) == plain


def test_no_handle_can_be_computed_from_another() -> None:
    sessions = Sessions(0, HandleKey(), 512, 0)
    slots = sessions.take(512, 0.0)
    sessions.own(slots, "p", [str(slot) for slot in slots])
    handles = sessions.attach(slots, 0.0).copy()
    for handle in handles[:16]:
        assert not any(good(sessions, flipped(handle)))
    # Neither do the differences between handles of neighbours repeat, nor do they stand near each other.
    assert len(np.unique(handles[1:] ^ handles[:-1])) == len(np.unique(handles[1:] - handles[:-1])) == 511
    changed = np.unpackbits((handles[1:] ^ handles[:-1]).view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert (np.abs(changed - 0.5) < 0.15).all()  # six standard deviations
    assert not any(good(sessions, np.random.default_rng(3).integers(0, 2**64, size=100_000, dtype=np.uint64)))
    assert all(good(sessions, handles))


def test_tombstones_keep_the_last_ends_by_id_and_by_handle() -> None:
    tombs = Tombstones(2)
    for k in range(3):
        tombs.bury(("p", f"s{k}"), 100 + k, Tombstone(k, 0.0, "expired"))
    assert tombs.of(("p", "s0")) is None
    assert tombs.of_handle(100) is None
    error = tombs.of_handle(102)
    assert error
    assert error.metadata["position"] == "2"
    tombs.bury(("p", "s2"), 200, Tombstone(9, 0.0, "evicted"))
    assert tombs.of_handle(102) is None
    tombs.lift(("p", "s2"))
    assert tombs.of(("p", "s2")) is None
    assert tombs.of_handle(200) is None
    assert tombs.of(("p", "s1"))
    Tombstones(0).bury(("p", "a"), 1, Tombstone(0, 0.0, "expired"))


def test_versions_order_runs_of_digits_as_numbers() -> None:
    ordered = ["1", "1.2", "1.10", "2", "10", "2024.1"]
    assert max(ordered, key=version_key) == "2024.1"
    assert sorted(set(ordered), key=version_key) == ordered
