"""The pictures in docs/ that show what models do, made through the server. `make pictures` runs it."""

from pathlib import Path

import matplotlib
import numpy as np
from examples import many_to_many
from examples.demo import BUNDLES, served
from examples.many_to_many import STARTS

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
    years = FIRST_YEAR + np.arange(len(months)) / 12
    figure, axes = pyplot.subplots(2, 1, figsize=(10, 7), sharex=True, layout="constrained")
    for one in axes:
        one.plot(years[begin:], months[begin:], color="0.7", label="truth")
        one.set_ylabel("sunspot number")
    axes[0].plot(years[begin:], forecasts, color="C3", linewidth=0.8, label="one month ahead")
    axes[0].set_title(f"Monthly sunspot numbers, {HELD_OUT_YEAR} to 2008: none of them learned from")
    for number, start in enumerate(STARTS):
        ahead, label = years[start : start + AHEAD], "_" * (number > 0)  # one entry in the legend for all
        axes[1].plot(ahead, free[number], color="C3", label=label + "24 months, running free")
        axes[1].plot(
            ahead, np.full(AHEAD, months[start - 1]), ":", color="C0", label=label + "naive: the last month stays"
        )
    axes[1].set_title("From every second January on, each forecast read as the next month")
    for one in axes:
        one.legend(loc="upper right")
    figure.savefig(DOCS / "sunspots.png", dpi=100, metadata={"Software": None})
    print(f"made {DOCS / 'sunspots.png'}")


if __name__ == "__main__":
    main()
