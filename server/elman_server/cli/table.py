"""Tables for people: aligned columns of text."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under a header; numbers stand to the right."""
    cells = [tuple(header), *(tuple(map(readable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    is_number = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(header))]
    lines = (
        "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, is_number, strict=True))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def readable(value: object) -> str:
    """As a terminal may show it: what does not print, or turns the writing's direction, is escaped."""
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
