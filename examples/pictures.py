"""The pictures in docs/ that show what models do, made through the server. `make pictures` runs it."""

from pathlib import Path

import matplotlib
import numpy as np
from examples import many_to_many
from examples.demo import BUNDLES, served

from models.bundles.sunspots.data import AHEAD, FIRST_YEAR, HELD_OUT_YEAR, Floats, month_of, monthly

matplotlib.use("Agg")
from matplotlib import pyplot

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """Makes all of them."""
    with served(BUNDLES) as (address, _):
        sunspots(*many_to_many.main(address))


def sunspots(forecasts: Floats, free: Floats) -> None:
    """One step ahead of all held-out months; 24 months free running, beside the forecast that the last month stays."""
    months, begin = monthly(), month_of(HELD_OUT_YEAR)
    figure, (upper, lower) = pyplot.subplots(2, 1, figsize=(10, 7), layout="constrained")
    years = FIRST_YEAR + np.arange(len(months)) / 12
    upper.plot(years[begin:], months[begin:], color="0.6", label="truth")
    upper.plot(years[begin:], forecasts, color="C3", linewidth=0.8, label="one month ahead")
    upper.set_title(f"Sunspot numbers, one month ahead, {HELD_OUT_YEAR} to 2008: none of them learned from")
    first = month_of(2007)
    shown, ahead = slice(first - 60, first + AHEAD), slice(first, first + AHEAD)
    lower.plot(years[shown], months[shown], color="0.6", label="truth")
    lower.plot(years[ahead], free, color="C3", label="24 months, running free")
    lower.plot(years[ahead], np.full(AHEAD, months[first - 1]), "--", color="C0", label="naive: the last month stays")
    lower.set_title("From December 2006 on, each forecast read as the next month")
    for axes in (upper, lower):
        axes.set_ylabel("sunspot number")
        axes.legend(loc="upper right")
    figure.savefig(DOCS / "sunspots.png", dpi=100, metadata={"Software": None})
    print(f"made {DOCS / 'sunspots.png'}")


if __name__ == "__main__":
    main()
