"""Plots: curves as data, drawn by matplotlib, which is an optional extra."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """One curve."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Plot:
    """Curves over one axis."""

    name: str
    """Of its file."""
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    log_x: bool = False
    log_y: bool = False
    markers: bool = True


class MatplotlibMissing(Exception):
    """Nothing can be drawn."""

    def __init__(self) -> None:
        super().__init__("no plots without matplotlib: pip install matplotlib (the server's extra `plots` brings it)")


def draw(plots: Iterable[Plot], folder: Path) -> list[Path]:
    """Writes each plot as a PNG.

    Raises:
        MatplotlibMissing: it is not installed.
    """
    try:
        from matplotlib.figure import Figure  # no pyplot: no display, no global state
    except ImportError as error:
        raise MatplotlibMissing from error
    written = []
    for plot in plots:
        figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        for line in plot.lines:
            axes.plot(line.x, line.y, marker="o" if plot.markers else "", label=line.label)
        axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
        if plot.log_x:
            axes.set_xscale("log")
        if plot.log_y:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.legend()
        written.append(folder / f"{plot.name}.png")
        figure.savefig(written[-1])
    return written
