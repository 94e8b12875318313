"""The machine: without it an absolute figure says nothing."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("elman-server", "torch", "onnxruntime", "grpcio", "protobuf", "numpy", "uvloop")


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
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={name: number for name in PACKAGES if (number := _version(name))},
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        load_average=os.getloadavg()[0],
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    pairs = (line.partition(":") for line in lines)
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    family = f"family {facts.get('cpu family')}, model {facts.get('model')}"
    wide = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.processor())} ({family}; {' '.join(wide)})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
