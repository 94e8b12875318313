"""`elman-server bench` against a running server."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.bundles import NAME, write_model
from bench.effort import TINY
from bench.serving import Served, serve

from elman_server.cli.main import main
from elman_server.loadgen.report.machine import Machine

QUICK = ("--warm-up", "0.1", "--seconds", "0.3", "--seeds", "2", "--model", NAME)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(write_model(tmp_path_factory.mktemp("models"), TINY)) as one:
        yield one


def test_a_closed_loop_gives_a_table_a_file_and_plots(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("--address", served.address, "--metrics", str(served.metrics_url), "--pid", str(served.pid))
    shape = ("--sessions", "1,8", "--lengths", "uniform:1:20", "--in-flight", "2", "--out", str(tmp_path))
    assert main(["bench", *QUICK, *own, *shape]) == 0
    printed = capsys.readouterr()
    machine, header, *rows = printed.out.splitlines()
    assert header.split()[:3] == ["sessions", "streams", "rows/frame"]
    assert [row.split()[0] for row in rows] == ["1", "8"]
    assert "load 2 of 2, seed 2 of 2" in printed.err
    written = json.loads((tmp_path / "runs.json").read_text())
    assert str(Machine(**written["machine"])) == machine
    runs = written["runs"]
    assert all(run["outcome"]["done_steps"] > 0 and len(run["goodputs"]) == 2 for run in runs)
    assert runs[1]["outcome"]["server"]["padded_steps"] == 0
    assert {path.stem for path in tmp_path.glob("*.png")} == {"throughput", "rows_per_batch", "latency_cdf"}


def test_an_open_loop_offers_what_was_asked_for(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = ("--sessions", "8", "--streams", "2", "--rows", "2", "--rates", "40,800", "--out", str(tmp_path))
    assert main(["bench", *QUICK, "--address", served.address, *shape]) == 0
    runs = json.loads((tmp_path / "runs.json").read_text())["runs"]
    offered = [run["outcome"]["offered_steps"] / run["outcome"]["seconds"] for run in runs]
    assert 0 < offered[0] < offered[1]  # far apart: a clock that a busy machine holds up offers less, then more
    assert {path.stem for path in tmp_path.glob("*.png")} == {"goodput", "latency_under_load", "latency_cdf"}


def test_without_matplotlib_it_says_what_to_install(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["bench", *QUICK, "--address", served.address, "--sessions", "1", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "matplotlib" in line] == said[-1:]
    assert "pip install matplotlib" in said[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["runs.json"]


def test_a_server_that_is_not_there_is_one_line_and_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *QUICK, "--address", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("elman-server: 127.0.0.1:1: no server answers")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--lengths", "normal:3"), "lengths: expected N, uniform:LOW:HIGH or geometric:MEAN"),
        (("--sessions", "10", "--streams", "4"), "sessions: expected a multiple of the streams, 4, got 10"),
        (("--sessions", "8", "--streams", "1", "--rows", "3"), "rows: expected a divisor of a stream's 8 sessions"),
        (("--sessions", "0", "--streams", "1"), "expected at least 1"),
    ],
)
def test_a_load_that_cannot_be_is_refused(
    wrong: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *QUICK, *wrong]) == 2
    assert told in capsys.readouterr().err
