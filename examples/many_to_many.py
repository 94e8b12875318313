"""Many to many, side by side: an answer at every step. Here: next month's sunspot number, and then the next 24.

With `make serve` running, from the repository's root: python -m examples.many_to_many
"""

import sys

import numpy as np

import elman
from models.bundles.sunspots.data import AHEAD, HELD_OUT_YEAR, Floats, month_of, monthly, rmse


def main(address: str = "localhost:8470") -> tuple[Floats, Floats]:
    """One step ahead of each held-out month, and 24 months ahead of the last January known; [T] and [24]."""
    months, begin = monthly()[:, None], month_of(HELD_OUT_YEAR)
    with elman.Client(address) as client:
        model = client.model("sunspots")
        with model.session() as session:
            session.step(months[: begin - 1], returning="none")  # what was known
            forecasts = session.step(months[begin - 1 : -1])  # [T, 1] -> [T, 1]
        with model.session() as session:
            free = [session.step(months[: month_of(2007)])[-1]]
            while len(free) < AHEAD:
                free.append(session.step(free[-1]))  # its own forecast is what it reads next
        card = model.info.metadata
    error, naive = rmse(forecasts, months[begin:]), rmse(months[begin - 1 : -1], months[begin:])
    print(f"  one month ahead, {HELD_OUT_YEAR} to 2008: error {error:.2f}, that the last one stays {naive:.2f}")
    print(f"  the model card says {card['one_step_rmse']} and {card['naive_one_step_rmse']}")
    for quarter in range(0, AHEAD, 6):
        month, truth = free[quarter][0], months[month_of(2007) + quarter, 0]
        print(f"  {2007 + quarter // 12}-{quarter % 12 + 1:02}: forecast {month:5.1f}, truth {truth:5.1f}")
    return forecasts[:, 0], np.concatenate(free)


if __name__ == "__main__":
    main(*sys.argv[1:])
