"""A model's plan table: from the cache, or measured, with the plans chosen by hand put over it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from elman_models.plans.cache import PlanCache
from elman_models.plans.candidates import candidates
from elman_models.plans.factory import PlanFactory
from elman_models.plans.left_out import left_out
from elman_models.plans.overrides import Overrides, by_shape, forced, put_over
from elman_models.plans.table import Entry, PlanTable, Shape
from elman_models.plans.warm_up import Progress, WarmUp
from elman_models.spec import ModelSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measuring:
    """Where and how a table is measured, where it is not known yet."""

    progress: Progress | None = None
    cache: PlanCache | None = None
    measure: Callable[[WarmUp], Mapping[Shape, Entry]] = WarmUp.measure
    is_quiet: Callable[[], bool] = lambda: True


def prepare(
    spec: ModelSpec,
    rnn: nn.RNNBase,
    *,
    budget_seconds: float,
    progress: Progress | None = None,
    cache: PlanCache | None = None,
    overrides: Overrides | None = None,
    measure: Callable[[WarmUp], Mapping[Shape, Entry]] = WarmUp.measure,
    is_quiet: Callable[[], bool] = lambda: True,
) -> PlanTable:
    """The table of `rnn` on its device, measured on the calling thread.

    Args:
        spec, rnn: the model.
        budget_seconds: after which no further shape is measured; 0: none is.
        progress: told as shapes are measured.
        cache: where tables are kept, if at all.
        overrides: plans chosen by hand; of one name for everything only that plan is measured.
        measure: fills the table; by default here and now.
        is_quiet: asked after measuring whether nothing else ran beside it. If something did, the table is provisional,
            and not kept.

    Raises:
        ValueError: an override that names no shape, or no plan that could run it.
    """
    if not next(rnn.parameters()).is_cuda:
        for sentence in left_out(spec):
            log.warning("model %s: %s", spec.name, sentence)
    factory = PlanFactory(spec, candidates(spec, rnn))
    device, only = next(rnn.parameters()).device, only_of(factory, overrides)
    warm_up = WarmUp(spec, device, factory, budget_seconds, progress, only)
    return filled(warm_up, Measuring(progress, cache, measure, is_quiet), overrides)


def only_of(factory: PlanFactory, overrides: Overrides | None) -> dict[bool, str] | None:
    """`WarmUp.only`, where one plan is to run everything.

    Raises:
        ValueError: no such plan.
    """
    return forced(factory, overrides) if isinstance(overrides, str) else None


def filled(warm_up: WarmUp, how: Measuring, overrides: Overrides | None) -> PlanTable:
    """The table that `warm_up` is to find, or the cache has, with the plans chosen by hand put over it.

    Raises:
        ValueError: an override that names no shape, or no plan that could run it.
    """
    factory, cache = warm_up.factory, how.cache
    by_hand = by_shape(factory, overrides) if isinstance(overrides, Mapping) else {}
    key, entries = _known(warm_up, cache)
    is_provisional = False
    if entries is None:
        entries = how.measure(warm_up)
        is_provisional = not how.is_quiet()
        if cache and not is_provisional:
            _keep(cache, key, entries, warm_up.spec.name)
    return factory.table(put_over(factory, by_hand, entries), is_provisional=is_provisional)


def _known(warm_up: WarmUp, cache: PlanCache | None) -> tuple[Mapping[str, str], Mapping[Shape, Entry] | None]:
    # The cache's key, and the entries where nothing is to be measured.
    key = warm_up.key()
    if warm_up.only:
        key["only"] = f"{warm_up.only[False]}, ragged {warm_up.only[True]}"
    kept = cache.read(key) if cache else None
    if kept is not None and _can_run(warm_up.factory, kept):
        return key, kept
    if not warm_up.budget_seconds:
        plans = warm_up.only or dict.fromkeys((False, True), warm_up.factory.default)
        return key, {Shape(1, 1, is_ragged): Entry(name) for is_ragged, name in plans.items()}
    return key, None


def _keep(cache: PlanCache, key: Mapping[str, str], entries: Mapping[Shape, Entry], model: str) -> None:
    try:
        cache.write(key, entries)
    except OSError as error:  # a read-only disk costs the next start its seconds, nothing else
        log.warning("the plan table of model %s is not kept: %s", model, error)


def _can_run(factory: PlanFactory, entries: Mapping[Shape, Entry]) -> bool:
    has_both = {shape.is_ragged for shape in entries} == {False, True}
    return has_both and all(e.plan in factory.names(is_ragged=s.is_ragged) for s, e in entries.items())
