"""Anomalies: what a forecaster did not expect. Here: planted in series with a daily rhythm.

With `make serve` running, from the repository's root: python -m examples.anomaly
"""

import sys

import numpy as np

import elman
from models.bundles.anomaly.data import HELD_OUT_SEEDS, alarms_of, overlaps, planted, precision_and_recall


def main(address: str = "localhost:8470") -> tuple[float, float]:
    """Looks for the anomalies of all held-out series; precision and recall."""
    made = [planted(seed) for seed in HELD_OUT_SEEDS]
    load = np.stack([series for series, _ in made], 1)[..., None]  # [T, K, 1]
    with elman.Client(address) as client:
        model = client.model("anomaly")
        with model.sessions(len(made)) as pool:
            forecasts = pool.step(load)  # [T, K, 1]: of the hour after each
        card = model.info.metadata
    threshold, found = float(card["threshold"]), []
    for number, (series, events) in enumerate(made):
        found.append((alarms_of(series, forecasts[:, number, 0], threshold), events))
    alarms, events = found[0]
    for event in events:
        seen = "found" if overlaps(event, alarms) else "missed"
        print(f"  hour {event.begin:4}: {event.kind:<12} {seen}")
    precision, recall = precision_and_recall(found)
    print(f"  in {len(made)} series: precision {precision:.3f}, recall {recall:.3f}")
    print(f"  the model card says {card['precision']} and {card['recall']}")
    return precision, recall


if __name__ == "__main__":
    main(*sys.argv[1:])
