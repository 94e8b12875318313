"""Each benchmark runs on a tiny size, and prints and stores what it should. How fast it is, is not looked at."""

import json
import math
import os
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from bench import no_worse
from bench.__main__ import BENCHMARKS, main
from bench.bundles import write_model
from bench.clients import clients
from bench.effort import TINY
from bench.report import Report, write
from bench.result import Result
from bench.serving import serve_module

from elman_server.loadgen import generator
from elman_server.loadgen.load import Load
from elman_server.loadgen.report.machine import this_machine

BARS = {
    "latency": 1,
    "frames": 1,
    "frames-bf16": 1,
    "coalescing": 1,
    "streams": 1,
    "baselines": 0,
    "no-padding": 3,
    "slow-neighbour": 2,
    "long-calls": 3,
    "overload": 3,
    "generate": 2,
    "million": 3,
}


def test_every_benchmark_is_tried_here() -> None:
    assert list(BARS) == list(BENCHMARKS)


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name not in ("latency", "no-padding")])
def test_a_benchmark_finds_numbers(name: str, tmp_path: Path) -> None:
    module, _, function = BENCHMARKS[name].partition(":")
    result: Result = getattr(import_module(f"bench.{module}"), function)(TINY, tmp_path)
    assert len(result.bars) == BARS[name]
    assert all(math.isfinite(bar.ratio) for bar in result.bars)
    assert all(math.isfinite(figure.value) for figure in result.figures)
    assert all(str(bar) in str(result) for bar in result.bars)
    assert all(len(row) == len(table.header) for table in result.tables for row in table.rows)
    assert all(len(line.x) == len(line.y) > 0 for plot in result.plots for line in plot.lines)


def test_a_run_prints_ratios_and_stores_a_report_and_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--only", "latency", "no-padding", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "p50 of one step over 1.5 echoes' p50 and 2 computations' p50" in printed.out
    assert "p50 of one step over 1.5 p50 of an echo on the server's own door and 2 computations' p50: " in printed.out
    assert "round 1 of 1" in printed.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert [result["name"] for result in report["results"]] == ["latency", "no padding"]
    assert report["machine"]["processor"]
    assert report["machine"]["versions"]["numba"]
    assert "no padding" in (tmp_path / "report.txt").read_text()
    assert (tmp_path / "latency_cdf.png").stat().st_size
    assert [bar["ratio"] for bar in report["results"][1]["bars"]] == [0.0, 0.0, 0.0]


def test_a_report_without_matplotlib_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write(Report(this_machine(), TINY, ()), tmp_path)
    (said,) = capsys.readouterr().err.splitlines()
    assert "pip install matplotlib" in said
    assert {path.name for path in tmp_path.iterdir()} == {"report.txt", "report.json"}


def test_what_is_to_be_no_worse_is_measured_on_both_servers(tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    with clients(2) as own:
        sides = no_worse.Sides(TINY, write_model(tmp_path, TINY), no_worse.ROOT, cores, 1, cores, own)
        with sides.served(after=("--door", "plain")) as servers:
            rows = [*no_worse.on_one_server(sides, *servers), *no_worse.with_idle_sessions(sides)]
    assert len({row[0] for row in rows}) == len(rows) == 11
    assert all(isinstance(one, float) for row in rows for one in row[1:])  # on a busy machine there may be nothing done


@pytest.mark.parametrize("module", ["bench.echo", "bench.door_echo"])
def test_an_echo_answers_frames(module: str) -> None:
    with serve_module(module, "--input-size", "8", "--output-size", "16") as echo:
        load = Load(echo.address, "echo", sessions=4, streams=4, handles=(1, 2, 3, 4), warm_up_seconds=0, seconds=0.2)
        while not (outcome := generator.run(load, echo.probe)).done_frames:
            load = replace(load, seconds=2 * load.seconds)  # it was over before an answer came
    assert outcome.done_steps == outcome.done_frames
    assert outcome.refused_frames == 0


def test_an_unknown_benchmark_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "speed"])
    assert "slow-neighbour" in capsys.readouterr().err
