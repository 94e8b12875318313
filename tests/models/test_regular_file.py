"""What a bundle's files may be: regular files of no more than so many bytes."""

import os
from pathlib import Path

import pytest

from elman_models import SpecError, WeightsError, read_spec, read_weights
from elman_models.regular_file import read_regular
from elman_models.spec_file import parse_spec


def test_a_file_is_read_whole_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "file", 5) == read_regular(tmp_path / "link", 1 << 40) == b"12345"


def test_what_is_no_regular_file_or_too_large_or_not_there_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"12345")
    for name, message in (
        ("pipe", "expected a regular file, got a pipe or a device"),
        ("file", "expected at most 4 bytes, got 5"),
        ("none", "No such file or directory"),
        (".", "Is a directory"),
    ):
        with pytest.raises(OSError, match=message):
            read_regular(tmp_path / name, 4)
    with pytest.raises(OSError, match="got a pipe or a device"):
        read_regular(Path("/dev/zero"), 4)


def test_the_files_of_a_bundle_are_held_to_it(tmp_path: Path) -> None:
    text = b"name: m\ncell: gru\ninput_size: 3\nhidden_size: 4\n"
    (tmp_path / "model.yaml").write_bytes(text + b"#" * (1 << 20))
    with pytest.raises(SpecError, match="cannot be read: expected at most 1048576 bytes, got"):
        read_spec(tmp_path)
    with (tmp_path / "weights.safetensors").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(WeightsError, match=r"cannot be read: expected at most 100000\d\d\d bytes, got 1099511627776"):
        read_weights(tmp_path, parse_spec(text, "model.yaml"))
