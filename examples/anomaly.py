"""Anomalies: what a forecaster did not expect, scored on the server. Here: planted in series with a daily rhythm.

With `make serve` running, from the repository's root: python -m examples.anomaly
"""

import sys

import numpy as np

import elman
from models.bundles.anomaly.data import HELD_OUT_SEEDS, alarms_from, overlaps, planted, precision_and_recall


def main(address: str = "localhost:8470") -> tuple[float, float]:
    """Looks for the anomalies of all held-out series; precision and recall."""
    made = [planted(seed) for seed in HELD_OUT_SEEDS]
    found = []
    with elman.Client(address) as client:
        model = client.model("anomaly")
        card = model.info.metadata
        for series, events in made:
            load = series[:, None]  # [T, 1]
            with model.session() as session:
                score = session.score(load[:-1], load[1:], steps=True)  # squared errors [T - 1] of the hours after
            found.append((alarms_from(np.sqrt(score.steps), float(card["threshold"])), events))
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
