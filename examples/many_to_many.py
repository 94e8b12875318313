"""Many to many, side by side: an answer at every step. Here: next month's sunspot number, and then the next 24.

With `make serve` running, from the repository's root: python -m examples.many_to_many
"""

import sys

import numpy as np

import elman
from models.bundles.sunspots.data import AHEAD, HELD_OUT_YEAR, Floats, month_of, monthly, rmse

STARTS = [month_of(year) for year in range(HELD_OUT_YEAR, 2008, 2)]
"""Every second January: where a forecast begins to run free."""


def main(address: str = "localhost:8470") -> tuple[Floats, Floats]:
    """Forecasts one step ahead of each held-out month, [T], and 24 months from each of STARTS on, [len(STARTS), 24]."""
    months, begin = monthly()[:, None], month_of(HELD_OUT_YEAR)
    with elman.Client(address) as client:
        model = client.model("sunspots")
        with model.session() as session:
            session.step(months[: begin - 1], returning="none")  # what was known
            forecasts = session.step(months[begin - 1 : -1])  # [T, 1] -> [T, 1]
        free = [list(model.generate(AHEAD, prompt=months[:start])) for start in STARTS]  # fed back on the server
        card = model.info.metadata
    ahead, last = np.array(free)[..., 0], months[np.array(STARTS) - 1]  # [K, 24] and [K, 1]
    truth = np.array([months[start : start + AHEAD, 0] for start in STARTS])
    one, naive = rmse(forecasts, months[begin:]), rmse(months[begin - 1 : -1], months[begin:])
    print(f"  one month ahead, {HELD_OUT_YEAR} to 2008: error {one:.2f}; that the last month stays {naive:.2f}")
    print(f"  the model card says {card['one_step_rmse']} and {card['naive_one_step_rmse']}")
    print(f"  24 months, running free, {len(STARTS)} times: {rmse(ahead, truth):.2f} and {rmse(last, truth):.2f}")
    print(f"  the model card says {card['free_24_rmse']} and {card['naive_24_rmse']}, from every month on")
    return forecasts[:, 0], ahead


if __name__ == "__main__":
    main(*sys.argv[1:])
