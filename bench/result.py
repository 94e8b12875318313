"""A result: figures, ratios held against their bars, and curves."""

from dataclasses import dataclass

from elman_server.loadgen.report.plot import Plot
from elman_server.loadgen.report.table import Table, readable


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {readable(self.value)}{' ' * bool(self.unit)}{self.unit}"


@dataclass(frozen=True)
class Bar:
    """A ratio, and what it may be."""

    text: str
    ratio: float
    limit: float
    at_most: bool
    """Whether the limit is the largest that will do; else the smallest."""

    @property
    def is_met(self) -> bool:
        """Whether it is; a ratio that is not a number meets nothing."""
        return self.ratio <= self.limit if self.at_most else self.ratio >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        return f"{'MET   ' if self.is_met else 'MISSED'} {self.ratio:8.3f} {sign} {self.limit:<6g} {self.text}"


@dataclass(frozen=True)
class Result:
    """What one benchmark found."""

    name: str
    bars: tuple[Bar, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()

    def __str__(self) -> str:
        parts = [f"== {self.name}", *(f"  {bar}" for bar in self.bars), *(f"         {f}" for f in self.figures)]
        return "\n".join([*parts, *("\n" + str(table) + "\n" for table in self.tables)])
