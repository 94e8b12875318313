"""Settings: the command line over the environment over the file; what is unknown or wrong stops the start."""

import argparse
from pathlib import Path

import pytest

from elman_server.config.address import Address, UnixAddress, parse_address, parse_listen, parse_target
from elman_server.config.server_config import ConnectionConfig, Limits, LogConfig, ServerConfig, TlsConfig
from elman_server.config.setting import Setting
from elman_server.config.settings import SettingsError, add_options, read_config, read_settings, settings_of


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
    assert config.log == LogConfig()
    assert config == ServerConfig(models=Path("x"))


SAMPLES: dict[str, tuple[str, object]] = {
    "models": ("some/folder", Path("some/folder")),
    "listen": ("unix:/run/elman.sock", UnixAddress(Path("/run/elman.sock"))),
    "socket_mode": ("0660", "0660"),
    "metrics_listen": ("none", None),
    "door": ("plain", "plain"),
    "tls_certificate": ("server.pem", Path("server.pem")),
    "tls_key": ("server.key", Path("server.key")),
    "tls_client_ca": ("callers.pem", Path("callers.pem")),
    "keepalive_seconds": ("none", None),
    "keepalive_timeout_seconds": ("2.5", 2.5),
    "device": ("cuda:1", "cuda:1"),
    "threads": ("3", 3),
    "warm_up_seconds": ("0", 0.0),
    "cache": ("none", None),
    "plans": ("ort", "ort"),
    "drain_seconds": ("2.5", 2.5),
    "oip_strict_order": ("true", True),
    "oip_optional_inputs": ("true", True),
    "max_sessions": ("7", 7),
    "when_full": ("evict", "evict"),
    "idle_timeout_seconds": ("none", None),
    "end_on_disconnect": ("true", True),
    "max_tombstones": ("0", 0),
    "max_rows": ("7", 7),
    "max_slice": ("7", 7),
    "max_queue_rows": ("7", 7),
    "max_queue_bytes": ("7", 7),
    "max_caller_rows": ("7", 7),
    "max_caller_bytes": ("7", 7),
    "max_frame_bytes": ("2048", 2048),
    "max_infer_rows": ("7", 7),
    "max_infer_steps": ("7", 7),
    "max_generate_steps": ("4096", 4096),
    "replay_chunks": ("0", 0),
    "replay_bytes": ("0", 0),
    "max_marks": ("0", 0),
    "max_kept_states": ("0", 0),
    "max_mark_bytes": ("0", 0),
    "refuse_non_finite": ("false", False),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
}
"""A value of each setting, not its default, as it is written and as it is read."""
BAD = ("", "garbage?", "-1", "1e99", "None", "[]")
"""No setting takes any of these that is a number, a choice or an address."""
SETTINGS = settings_of(ServerConfig)
WORDS = {"models", "cache", "plans", *TlsConfig.model_fields}
"""Settings that take nearly any text."""


def of(config: ServerConfig, name: str) -> object:
    components = (config.limits, config.log, config.tls, config)
    return next(getattr(component, name) for component in components if name in type(component).model_fields)


def test_every_setting_is_tried_here() -> None:
    assert set(SAMPLES) == set(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_each_setting_reads_the_same_from_option_variable_and_file(setting: Setting, tmp_path: Path) -> None:
    written, value = SAMPLES[setting.name]
    models = [] if setting.name == "models" else ["--models", "x"]
    file = tmp_path / "elman.yaml"
    file.write_text(f"{setting.name}: '{written}'")
    assert of(read([*models, setting.flag, written]), setting.name) == value
    assert of(read(models, {setting.variable: written}), setting.name) == value
    assert of(read([*models, "--config", str(file)]), setting.name) == value


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_each_settings_help_says_what_it_is_what_it_takes_and_its_default(setting: Setting) -> None:
    assert setting.field.description
    assert setting.field.description in setting.help
    assert setting.expected in setting.help
    assert setting.field.is_required() or "; default: " in setting.help
    unit = setting.name.rpartition("_")[2]
    assert unit not in ("seconds", "bytes") or f"of {unit}" in setting.expected
    assert not set("^$\\*+{") & set(setting.help.replace("{'8x16': ort}", "")), "a regular expression"


REFUSED = [(setting, bad) for setting in SETTINGS.values() for bad in BAD if not (bad and setting.name in WORDS)]


@pytest.mark.parametrize(("setting", "bad"), REFUSED, ids=[f"{setting.name}={bad}" for setting, bad in REFUSED])
def test_a_bad_value_stops_the_start_and_says_what_was_expected_where(
    setting: Setting, bad: str, tmp_path: Path
) -> None:
    models = [] if setting.name == "models" else ["--models", "x"]
    file = tmp_path / "elman.yaml"
    file.write_text(f"{setting.name}: '{bad}'")
    for arguments, environment, source in (
        ([f"{setting.flag}={bad}"], {}, setting.flag),
        ([], {setting.variable: bad}, setting.variable),
        (["--config", str(file)], {}, str(file)),
    ):
        with pytest.raises(SettingsError) as caught:
            read([*models, *arguments], environment)
        assert str(caught.value) == f"{setting.name}: expected {setting.expected}, got {bad!r} ({source})"


@pytest.mark.parametrize(
    "name",
    sorted(set(SETTINGS) - {"end_on_disconnect", "oip_strict_order", "oip_optional_inputs", "refuse_non_finite"}),
)
def test_yes_is_no_number_and_no_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / "elman.yaml"
    file.write_text(f"{name}: yes")
    with pytest.raises(SettingsError, match=f"^{name}: expected"):
        read(["--models", "x"] if name != "models" else [], {"ELMAN_CONFIG": str(file)})


def test_a_switch_alone_means_true() -> None:
    assert read(["--models", "x", "--oip-strict-order"]).oip_strict_order


def test_one_file_and_environment_serve_all_commands(tmp_path: Path) -> None:
    file = tmp_path / "elman.yaml"
    file.write_text("models: x\ntarget: elman.example\n")
    environment = {"ELMAN_CONFIG": str(file), "ELMAN_TIMEOUT_SECONDS": "2", "ELMAN_MAX_ROWS": "5"}
    assert read([], environment).limits.max_rows == 5
    parser = argparse.ArgumentParser()
    add_options(parser, ConnectionConfig)
    connection = read_config(ConnectionConfig, parser.parse_args([]), environment)
    assert connection == ConnectionConfig(target="elman.example:8470", timeout_seconds=2)


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
        ([], {}, "models: x\nmax_row: 1", "unknown setting max_row; did you mean max_rows"),
        ([], {}, "models: x\nmax_rows: 1\nmax_rows: 2", "max_rows: stands twice"),
        ([], {}, "models: x\n1: 2", "unknown setting 1; known: models, "),
        ([], {}, "models: x\nsocket_mode: 0660", "three octal digits"),
        (["--models", "x"], {"ELMAN_MAX_ROWS": ""}, "", "max_rows: expected"),
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


@pytest.mark.parametrize("text", ["unix:/run/elman.sock", "unix:elman.sock", "unix:///run/elman.sock"])
def test_a_path_of_a_socket_reads_as_grpc_writes_it(text: str) -> None:
    assert parse_listen(text) == UnixAddress(Path(text.removeprefix("unix:").replace("///", "/")))


@pytest.mark.parametrize("text", ["unix:", "unix://host/path", "unix:/" + "x" * 107])
def test_a_socket_needs_a_path_that_the_system_takes(text: str) -> None:
    with pytest.raises(ValueError, match="unix:PATH"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("localhost", "localhost:8470"),
        ("elman.example:1", "elman.example:1"),
        ("[::1]", "[::1]:8470"),
        ("[::1]:5", "[::1]:5"),
        ("unix:/run/elman.sock", "unix:/run/elman.sock"),
    ],
)
def test_a_target_without_a_port_means_the_port_of_elman(text: str, target: str) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["", "8470", ":8470", "host:", "host:65536", "::1:80", "host:-1", "a b:1", "host:1x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)
