"""Tables of numbers, aligned for a terminal."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows under a header."""

    header: tuple[str, ...]
    rows: tuple[tuple[float | str, ...], ...]

    def __str__(self) -> str:
        cells = [self.header, *(tuple(map(readable, row)) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells)


def readable(value: float | str) -> str:
    """Three significant digits, or all of a large number."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 or value in (0, 1) else f"{value:.3g}"
