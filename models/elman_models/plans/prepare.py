"""A model's plan table: from the cache, or measured, with the plans chosen by hand put over it."""

import logging
from collections.abc import Mapping

from torch import nn

from elman_models.plans.cache import PlanCache, cache_key
from elman_models.plans.candidates import candidates
from elman_models.plans.overrides import Overrides, by_shape, forced
from elman_models.plans.table import Entry, PlanTable, Shape
from elman_models.plans.warm_up import Progress, WarmUp
from elman_models.plans.workshop import Workshop
from elman_models.spec import ModelSpec

log = logging.getLogger(__name__)


def prepare(
    spec: ModelSpec,
    rnn: nn.RNNBase,
    *,
    budget_seconds: float,
    progress: Progress | None = None,
    cache: PlanCache | None = None,
    overrides: Overrides | None = None,
) -> PlanTable:
    """The table of `rnn` on its device, measured on the calling thread.

    Args:
        spec, rnn: the model.
        budget_seconds: after which no further shape is measured.
        progress: told as shapes are measured.
        cache: where tables are kept, if at all.
        overrides: plans chosen by hand; one name for everything needs no measuring.

    Raises:
        ValueError: an override that names no shape, or no plan that could run it.
    """
    workshop = Workshop(spec, candidates(spec, rnn))
    if isinstance(overrides, str):
        return workshop.table(forced(workshop, overrides))
    by_hand = by_shape(workshop, overrides or {})
    warm_up = WarmUp(spec, next(rnn.parameters()).device, workshop, budget_seconds, progress)
    return workshop.table({**_measured(warm_up, cache), **by_hand})


def _measured(warm_up: WarmUp, cache: PlanCache | None) -> Mapping[Shape, Entry]:
    if cache is None:
        return warm_up.measure()
    key = cache_key(warm_up.spec, warm_up.device)
    kept = cache.read(key)
    if kept is not None and _can_run(warm_up.workshop, kept):
        return kept
    entries = warm_up.measure()
    try:
        cache.write(key, entries)
    except OSError as error:  # a read-only disk costs the next start its seconds, nothing else
        log.warning("the plan table of model %s is not kept: %s", warm_up.spec.name, error)
    return entries


def _can_run(workshop: Workshop, entries: Mapping[Shape, Entry]) -> bool:
    has_both = {shape.is_ragged for shape in entries} == {False, True}
    return has_both and all(e.plan in workshop.names(is_ragged=s.is_ragged) for s, e in entries.items())
