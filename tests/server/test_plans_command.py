"""`elman-server plans`: the table, plans chosen by hand, what is measured anew, and what is told meanwhile."""

import json
import logging
import sys
from io import StringIO
from pathlib import Path

import pytest
from toys import write_toys

from elman_models import Stack
from elman_models.plans.prepare import Measuring
from elman_server.cli.main import main

NONSENSE = 123.0
"""Seconds that nothing takes."""


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class ModelsAndCache:
    """A folder of models, and one that measured tables are kept in."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.models, self.cache = folder / "models", folder / "cache"
        write_toys(self.models, names)

    def plans(self, *options: object, seconds: float = 0.1) -> int:
        """Runs the command; the exit code."""
        where = ("--models", self.models, "--cache", self.cache, "--device", "cpu", "--threads", "1")
        return main(["plans", *map(str, (*where, "--warm-up-seconds", seconds, *options))])

    def kept(self) -> Path:
        (path,) = self.cache.glob("plans/*.json")
        return path


@pytest.fixture
def folders(tmp_path: Path) -> ModelsAndCache:
    return ModelsAndCache(tmp_path, ["lstm"])


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "elman_server")
    return caplog


def line_of(shape: str, text: str) -> list[str]:
    """The words after the shape in its line."""
    (words,) = [line.split() for line in text.splitlines() if line.startswith(f"{shape} ")]
    return words[1:]


def test_it_shows_the_table_of_each_model_and_measures_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told: pytest.LogCaptureFixture
) -> None:
    folders = ModelsAndCache(tmp_path, ["gru", "lstm"])
    assert folders.plans() == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if "threads" in line] == ["gru 1, 1 threads", "lstm 1, 1 threads"]
    assert text.count("rows x steps") == text.count("\n1x1 ") == 2
    told.clear()
    assert folders.plans() == 0
    assert capsys.readouterr().out == text
    assert not told.messages


def test_one_plan_for_everything_is_shown_with_its_times(
    folders: ModelsAndCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folders.plans("--plans", "native") == 0
    plan, microseconds, _ = line_of("1x1", capsys.readouterr().out)
    assert plan == "native"
    assert int(microseconds) > 0


def test_a_plan_that_a_file_names_for_a_shape_is_shown_with_what_was_measured_of_it(
    folders: ModelsAndCache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folders.plans() == 0
    fastest, microseconds, _, other, others, *_ = line_of("1x1", capsys.readouterr().out)
    file = tmp_path / "elman.yaml"
    file.write_text(json.dumps({"plans": {"1x1": other}}))
    assert folders.plans("--config", file) == 0
    words = line_of("1x1", capsys.readouterr().out)
    assert words[:2] == [other, others.rstrip(",")]
    assert f"{fastest} {microseconds}" in " ".join(words[3:])


def test_a_plan_that_is_not_there_is_refused_by_name(
    folders: ModelsAndCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folders.plans("--plans", "nothing") == 1
    assert "no plan 'nothing'" in capsys.readouterr().err


def test_again_measures_anew_and_replaces_what_is_kept(
    folders: ModelsAndCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folders.plans() == 0
    page = json.loads(folders.kept().read_text())
    for entry in page["entries"]:
        entry["seconds"] = dict.fromkeys(entry["seconds"], NONSENSE)
    folders.kept().write_text(json.dumps(page))
    shown = []
    for options in ((), ("--again",), ()):
        capsys.readouterr()
        assert folders.plans(*options) == 0
        shown.append(f"{1e6 * NONSENSE:.0f}" in capsys.readouterr().out)
    assert shown == [True, False, False]


def test_again_without_any_time_to_measure_is_refused(
    folders: ModelsAndCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folders.plans("--again", seconds=0) == 2
    assert "--again" in capsys.readouterr().err


def test_where_there_is_no_terminal_the_log_tells_when_each_models_measuring_begins_and_ends(
    tmp_path: Path, told: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ModelsAndCache(tmp_path, ["gru", "lstm"]).plans() == 0
    begun, ended = told.messages[::2], told.messages[1::2]
    assert begun == ["measuring plans of model gru", "measuring plans of model lstm"]
    assert [message.rpartition(" in ")[0] for message in ended] == [
        "measured plans of model gru",
        "measured plans of model lstm",
    ]
    assert all(message.endswith(" s") for message in ended)
    assert "\r" not in capsys.readouterr().err


def test_a_terminal_shows_one_line_that_goes_away(
    folders: ModelsAndCache, monkeypatch: pytest.MonkeyPatch, told: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert folders.plans() == 0
    *lines, last = terminal.getvalue().split("\r\x1b[K")
    assert lines[1].startswith("measuring plans of lstm: 0/")
    assert last == ""
    assert "\n" not in terminal.getvalue()
    assert not told.messages


def test_what_goes_wrong_while_measuring_stands_on_a_line_of_its_own(
    folders: ModelsAndCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_stack: Stack, how: Measuring, **_: object) -> None:
        assert how.progress
        how.progress(0, 43, "1x1")
        raise ValueError("plans: broken")

    monkeypatch.setattr(Stack, "measured", fail)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert folders.plans() == 1
    assert terminal.getvalue().endswith("\r\x1b[Kelman-server: plans: broken\n")
