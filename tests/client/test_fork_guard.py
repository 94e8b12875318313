"""What the guard sees of the process's threads."""

import threading
from pathlib import Path

import pytest

from elman._shared import fork_guard

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system tells of no threads")


class Listings:
    """Stands for the system's folder of threads: each listing leaves out the threads it is given."""

    def __init__(self, folder: Path, *left_out: set[str]) -> None:
        self._folder = folder
        self.left_out = list(left_out)

    def iterdir(self) -> list[Path]:
        left_out = self.left_out.pop(0) if self.left_out else set()
        return [path for path in self._folder.iterdir() if path.name not in left_out]

    def __truediv__(self, name: str) -> Path:
        return self._folder / name


def test_a_listing_that_leaves_out_a_living_thread_as_another_ends_is_made_again(monkeypatch):
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    number = str(thread.native_id)
    listings = Listings(fork_guard._THREADS, {number}, {number})
    monkeypatch.setattr(fork_guard, "_THREADS", listings)
    try:
        assert number in fork_guard.threads()
        assert not listings.left_out
    finally:
        over.set()
        thread.join()


def test_a_listing_with_a_thread_that_has_ended_in_place_of_one_that_lives_is_made_again(tmp_path, monkeypatch):
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
    (tmp_path / "status").write_text("Name:\tpython\nThreads:\t2\n")
    monkeypatch.setattr(fork_guard, "_STATUS", tmp_path / "status")
    listings = iter([[tmp_path / "1", tmp_path / "ended"], [tmp_path / "1", tmp_path / "2"]])
    folder = Listings(tmp_path)
    monkeypatch.setattr(folder, "iterdir", lambda: next(listings))
    monkeypatch.setattr(fork_guard, "_THREADS", folder)
    assert fork_guard.threads() == {"1", "2"}
