"""A report: all results of one run, as text, as JSON, and as plots."""

from dataclasses import dataclass
from pathlib import Path

from bench.effort import Effort
from bench.progress import say
from bench.result import Result
from elman_server.loadgen.report.as_json import write_json
from elman_server.loadgen.report.machine import Machine
from elman_server.loadgen.report.plot import MatplotlibMissing, draw


@dataclass(frozen=True)
class Report:
    """One run on one machine."""

    machine: Machine
    effort: Effort
    results: tuple[Result, ...]

    @property
    def summary(self) -> str:
        """All ratios with their bars."""
        return "\n".join(["== bars", *(f"  {bar}" for result in self.results for bar in result.bars)])

    def __str__(self) -> str:
        return "\n".join([str(self.machine), "", *map(str, self.results), "", self.summary])


def write(report: Report, out: Path) -> None:
    """The report's files."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.txt").write_text(f"{report}\n")
    write_json(out / "report.json", report)
    try:
        draw([plot for result in report.results for plot in result.plots], out)
    except MatplotlibMissing as missing:
        say(str(missing))
