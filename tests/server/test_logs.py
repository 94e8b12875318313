"""The log: its level and its format."""

import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime

import pytest

from elman_server.config.server_config import LogConfig
from elman_server.telemetry.logs import set_up_logging

OURS, THEIRS = logging.getLogger("elman_server.anything"), logging.getLogger("numba.anything")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The process logs afterwards as before."""
    loggers = [logging.getLogger(name) for name in (None, "elman_server", "elman_models")]
    levels, handlers = [logger.level for logger in loggers], list(loggers[0].handlers)
    yield
    logging.captureWarnings(False)
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_json_has_time_level_logger_message_and_exception_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogConfig(log_format="json"))
    try:
        raise ValueError("of two\nlines")
    except ValueError:
        OURS.exception("model %s\nfailed", "char-lm")
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert list(record) == ["time", "level", "logger", "message", "exception"]
    assert datetime.fromisoformat(record["time"]).utcoffset() is not None
    assert (record["level"], record["logger"]) == ("error", "elman_server.anything")
    assert record["message"] == "model char-lm\nfailed"
    assert record["exception"].startswith("Traceback")
    assert record["exception"].endswith("ValueError: of two\nlines")


def test_text_is_a_line_with_the_same_parts(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogConfig())
    OURS.info("loaded")
    assert capsys.readouterr().err.endswith(" INFO elman_server.anything: loaded\n")


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [("debug", "DIWE", "IWE"), ("info", "IWE", "IWE"), ("warning", "WE", "WE"), ("error", "E", "E")],
)
def test_the_level_is_the_least_that_is_logged_and_libraries_do_not_debug(
    level: str, ours: str, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(LogConfig.model_validate({"log_level": level, "log_format": "json"}))
    for logger in (OURS, THEIRS):
        for name in ("debug", "info", "warning", "error"):
            getattr(logger, name)("said")
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    said = {logger.name: "" for logger in (OURS, THEIRS)}
    for record in records:
        said[record["logger"]] += record["level"][0].upper()
    assert said == {OURS.name: ours, THEIRS.name: theirs}


def test_it_can_be_set_up_again_and_says_each_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogConfig())
    set_up_logging(LogConfig(log_format="json"))
    OURS.warning("once")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "once"


def test_warnings_of_libraries_are_in_the_log_too(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogConfig(log_format="json"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert "DeprecationWarning: old" in json.loads(line)["message"]
