"""Plans chosen by hand: one name for everything, or names by shape."""

from collections.abc import Mapping
from re import fullmatch

from elman_models.plans.factory import SEGMENTS, PlanFactory
from elman_models.plans.table import Entry, Shape

Overrides = str | Mapping[str, str]
"""`native`; or by shape, as a table shows them: `{"8x16": "ort", "64x16 ragged": "fused"}`."""


def forced(factory: PlanFactory, name: str) -> dict[bool, str]:
    """The plans by which one runs everything, by whether rows differ in length: in segments where it wants equally long
    ones.

    Raises:
        ValueError: no such plan, or none that could run ragged batches so.
    """
    _check(factory, name, is_ragged=False)
    ragged = name if name in factory.names(is_ragged=True) else SEGMENTS
    if ragged not in factory.names(is_ragged=True):
        ragged = factory.default
    return {False: name, True: ragged}


def by_shape(factory: PlanFactory, overrides: Mapping[str, str]) -> dict[Shape, str]:
    """Plans to be put over the fastest ones.

    Raises:
        ValueError: not a shape, or a plan that cannot run it.
    """
    by_hand = {_shape(label): name for label, name in overrides.items()}
    for shape, name in by_hand.items():
        _check(factory, name, is_ragged=shape.is_ragged)
    return by_hand


def put_over(factory: PlanFactory, by_hand: Mapping[Shape, str], entries: Mapping[Shape, Entry]) -> dict[Shape, Entry]:
    """`entries` with plans chosen by hand; what was measured stays.

    Raises:
        ValueError: such a plan was left out as it was measured.
    """
    over = dict(entries)
    for shape, name in by_hand.items():
        _check(factory, name, is_ragged=shape.is_ragged)
        over[shape] = Entry(name, entries[shape].seconds if shape in entries else {})
    return over


def _shape(label: str) -> Shape:
    match = fullmatch(r"([1-9]\d{0,6})x([1-9]\d{0,6})( ragged)?", label)
    if not match:
        raise ValueError(f"plans: {label!r}: expected rows x steps, as in '8x16' or '8x16 ragged'")
    return Shape(int(match[1]), int(match[2]), match[3] is not None)


def _check(factory: PlanFactory, name: str, *, is_ragged: bool) -> None:
    known = factory.names(is_ragged=is_ragged)
    if name not in known:
        kind = "ragged batches" if is_ragged else "equally long rows"
        raise ValueError(
            f"plans: no plan {name!r} for {kind} of model {factory.model} on this machine; there are {', '.join(known)}"
        )
