"""The machine: without it an absolute figure says nothing."""

import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("elman-server", "torch", "onnxruntime", "grpcio", "protobuf", "numpy", "numba", "uvloop")
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """Processor, memory, system and versions."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    versions: dict[str, str]
    date: str
    """In UTC."""
    load_average: float
    """When the run began: above 0.5 somebody else used the machine too."""

    def __str__(self) -> str:
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.date}; {self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB; {self.system}; "
            f"Python {self.python}, {packages}; load average at the start {self.load_average:.2f}"
        )


def this_machine() -> Machine:
    """The one that this runs on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gib=memory,
        system=_system(),
        python=platform.python_version(),
        versions={name: number for name in PACKAGES if (number := _version(name))},
        date=date_now(),
        load_average=os.getloadavg()[0],
    )


def date_now() -> str:
    """The date and time in UTC, by ISO 8601, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")


def _system() -> str:
    # Major and minor of the kernel: what follows names its build, which is often of one machine only.
    return f"{platform.system()} {'.'.join(re.findall(r'[0-9]+', platform.release())[:2])}"


def _processor() -> str:
    facts = _cpu_info()
    numbers = [f"{word} {facts[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in facts]
    wide = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in facts.get("flags", "").split()]
    details = "; ".join(filter(None, (", ".join(numbers), " ".join(wide))))
    name = facts.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({details})" if details else name


def _cpu_info() -> dict[str, str]:
    try:
        lines = CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
