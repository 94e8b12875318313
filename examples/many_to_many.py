"""Many to many, side by side: an answer at every step. Here: next month's sunspot number, and then the next 24.

With `make serve` running, from the repository's root: python -m examples.many_to_many
"""

import sys

import numpy as np

import elman
from models.bundles.sunspots.data import AHEAD, HELD_OUT_YEAR, Floats, month_of, monthly, rmse

STARTS = [month_of(year) for year in range(HELD_OUT_YEAR, 2008, 2)]
"""Every second January: where a forecast begins to run free."""
SPANS = ((0, AHEAD), (-1, 0))
"""Of the 24 months from there on, and of the one before."""


def main(address: str = "localhost:8470") -> tuple[Floats, Floats]:
    """Forecasts one step ahead of each held-out month, [T], and 24 months from each of STARTS on, [len(STARTS), 24]."""
    months, begin = monthly()[:, None], month_of(HELD_OUT_YEAR)
    with elman.Client(address) as client:
        model = client.model("sunspots")
        with model.session() as session:
            session.step(months[: begin - 1], returning="none")  # what was known
            forecasts = session.step(months[begin - 1 : -1])  # [T, 1] -> [T, 1]
        with model.sessions(len(STARTS)) as pool:
            free = [np.stack([output[-1] for output in pool.step([months[:start] for start in STARTS])])]  # [K, 1]
            while len(free) < AHEAD:
                free.append(pool.step(free[-1]))  # its own forecasts are what it reads next
        card = model.info.metadata
    ahead = np.concatenate(free, 1)
    truth, last = (np.stack([months[start + a : start + b, 0] for start in STARTS]) for a, b in SPANS)
    one, naive = rmse(forecasts, months[begin:]), rmse(months[begin - 1 : -1], months[begin:])
    print(f"  one month ahead, {HELD_OUT_YEAR} to 2008: error {one:.2f}; that the last month stays {naive:.2f}")
    print(f"  the model card says {card['one_step_rmse']} and {card['naive_one_step_rmse']}")
    print(f"  24 months, running free, {len(STARTS)} times: {rmse(ahead, truth):.2f} and {rmse(last, truth):.2f}")
    print(f"  the model card says {card['free_24_rmse']} and {card['naive_24_rmse']}, from every month on")
    return forecasts[:, 0], ahead


if __name__ == "__main__":
    main(*sys.argv[1:])
