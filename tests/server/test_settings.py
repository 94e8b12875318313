"""Settings: the command line over the environment over the file; what is unknown or wrong stops the start."""

import argparse
from pathlib import Path

import pytest

from elman_server.config import Limits, ServerConfig
from elman_server.listen import Address, parse_address
from elman_server.settings import SettingsError, add_options, read_settings


def read(arguments: list[str], environment: dict[str, str] | None = None) -> ServerConfig:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return read_settings(parser.parse_args(arguments), environment or {})


def test_arguments_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "elman.yaml"
    file.write_text("models: /from/file\nmax_rows: 1\nmax_slice: 2\ndevice: cpu\nidle_timeout_seconds: none\n")
    config = read(
        ["--max-rows", "3", "--config", str(file)],
        {"ELMAN_MAX_ROWS": "2", "ELMAN_MAX_SLICE": "5", "ELMAN_LISTEN": "0.0.0.0:1", "HOME": "/"},
    )
    assert (config.limits.max_rows, config.limits.max_slice) == (3, 5)
    assert (config.models, config.device) == (Path("/from/file"), "cpu")
    assert config.listen == Address("0.0.0.0", 1)
    assert config.limits.idle_timeout_seconds is None
    assert read([], {"ELMAN_CONFIG": str(file)}).limits.max_rows == 1


def test_defaults_are_those_of_the_classes() -> None:
    config = read(["--models", "x"])
    assert config.limits == Limits()
    assert config == ServerConfig(models=Path("x"))


@pytest.mark.parametrize(
    ("arguments", "environment", "file", "says"),
    [
        ([], {}, "", "models"),
        (["--models", "x"], {"ELMAN_MAX_ROW": "1"}, "", "ELMAN_MAX_ROW: unknown setting"),
        (["--models", "x"], {"ELMAN_MAX_ROWS": "many"}, "", "max_rows"),
        (["--models", "x", "--max-slice", "0"], {}, "", "max_slice"),
        (["--models", "x", "--listen", "nowhere"], {}, "", "HOST:PORT"),
        (["--models", "x", "--device", "tpu"], {}, "", "device"),
        (["--models", "x", "--when-full", "panic"], {}, "", "when_full"),
        (["--models", "x", "--drain-seconds", "-1"], {}, "", "drain_seconds"),
        (["--models", "x", "--max-sessions", "99999999"], {}, "", "max_sessions"),
        (["--models", "x", "--idle-timeout-seconds", "inf"], {}, "", "idle_timeout_seconds"),
        ([], {}, "models: x\nmax_row: 1", "unknown setting max_row"),
        ([], {}, "- a", "expected a mapping"),
        ([], {}, "models: [", "elman.yaml"),
        ([], {}, "models: x\nlimits: {max_rows: 1}", "unknown setting limits"),
    ],
)
def test_what_is_unknown_or_wrong_stops_with_a_message(
    arguments: list[str], environment: dict[str, str], file: str, says: str, tmp_path: Path
) -> None:
    if file:
        path = tmp_path / "elman.yaml"
        path.write_text(file)
        arguments = [*arguments, "--config", str(path)]
    with pytest.raises(SettingsError, match=says):
        read(arguments, environment)


def test_a_file_that_is_not_there_stops_with_its_name() -> None:
    with pytest.raises(SettingsError, match=r"no/such\.yaml"):
        read(["--config", "no/such.yaml"])


@pytest.mark.parametrize("text", ["127.0.0.1:8470", "localhost:0", "[::1]:65535", "some-host.example:1"])
def test_an_address_reads_as_it_is_written(text: str) -> None:
    assert str(parse_address(text)) == text
    assert parse_address(parse_address(text)) == parse_address(text)


@pytest.mark.parametrize("text", ["", "8470", ":8470", "host:", "host:65536", "::1:80", "host:-1", "a b:1", "host:1x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)
