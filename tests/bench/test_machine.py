"""The machine that absolute figures are of."""

import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from elman_server.loadgen.report import machine
from elman_server.loadgen.report.machine import this_machine

CPU_INFO = """\
processor	: 0
cpu family	: 26
model		: 2
model name	: Some Processor
flags		: fpu avx2 amx_bf16

"""


def test_it_is_named_with_versions_date_and_load() -> None:
    one = this_machine()
    assert {"numba", "grpcio", "numpy", "elman-server"} <= set(one.versions)
    assert all(part in str(one) for part in (one.processor, one.system, one.date, f"numba {one.versions['numba']}"))
    assert "load average at the start" in str(one)


def test_its_date_is_of_utc() -> None:
    date = datetime.fromisoformat(this_machine().date)
    assert abs((datetime.now(UTC) - date).total_seconds()) < 3600
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", this_machine().date)


@pytest.mark.parametrize(
    ("release", "told"),
    [("6.18.44-some-build", "6.18"), ("5.4.0-150-generic", "5.4"), ("6.18-rc1", "6.18"), ("7", "7")],
)
def test_of_its_kernel_only_major_and_minor_are_told(release: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "release", lambda: release)
    assert this_machine().system == f"Linux {told}"


@pytest.mark.parametrize(
    ("info", "told"),
    [
        (CPU_INFO, "Some Processor (family 26, model 2; avx2 amx_bf16)"),
        ("processor	: 0\nFeatures	: fp asimd\n", "aarch64"),
        (None, "aarch64"),
    ],
)
def test_its_processor_is_told_as_far_as_it_is_known(
    info: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if info is not None:
        (tmp_path / "cpuinfo").write_text(info)
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert this_machine().processor == told
