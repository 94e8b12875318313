"""Tensors that are made: of one number, of the batch's size."""

import torch

from elman_models.export.call import Call
from elman_models.export.handlers.picking import LAST_STEP
from elman_models.export.handlers.registry import handles
from elman_models.export.sequences import operation_name
from elman_models.export.traced import Role, Traced, constant

RANDOM = (
    "rand",
    "randn",
    "randint",
    "rand_like",
    "randn_like",
    "bernoulli",
    "multinomial",
    "normal",
    "randperm",
    "uniform",
    "exponential",
    "cauchy",
    "geometric",
    "log_normal",
    "poisson",
    "binomial",
    "_standard_gamma",
    "_sample_dirichlet",
)


@handles(
    *(f"{kind}{suffix}" for kind in ("zeros", "ones", "full") for suffix in ("", "_like")),
    *(f"new_{kind}" for kind in ("zeros", "ones", "full")),
)
def filled(call: Call) -> Traced:
    """One number in every place: batch and time of it are read off its sizes."""
    kind = call.name.removeprefix("new_").removesuffix("_like")
    number = call.number("fill_value") if kind == "full" else float(kind == "ones")
    roles = tuple(Role.FEATURE if isinstance(size, int) else call.role_of(size) for size in call.shape)
    features = [int(size) for size in call.shape if isinstance(size, int)]
    return constant(torch.full(features, number, dtype=call.node.meta["val"].dtype)).with_roles(*roles)


@handles("arange", "linspace", "cumsum_positions", "tril", "triu", "tril_indices", "triu_indices")
def positions(call: Call) -> None:
    """Of the length: they are other ones in every chunk."""
    if call.sequences.batch is not None and call.shape == (call.sequences.batch,):
        call.refuse(f"{call.name} of the batch: rows are picked by number", LAST_STEP)
    call.refuse(
        f"{call.name} of the length: positions within a sequence, which begin anew with every chunk of it",
        "give the position as an input",
    )


@handles(*RANDOM, *(f"{name}_" for name in RANDOM))
def random(call: Call) -> None:
    """Other ones at every call."""
    call.refuse(
        f"{call.name}: random numbers",
        "give what they are drawn from (logits; a mean and a deviation) and draw on the caller's side, or have the "
        "server draw tokens from logits: Generate. Or take the numbers as an input",
    )


@handles("empty", "new_empty", "empty_like")
def empty(call: Call) -> None:
    """A loop that fills it usually follows, or random numbers do."""
    drawn = [operation_name(user) for user in call.node.users if operation_name(user).rstrip("_") in RANDOM]
    if drawn:
        call.name = drawn[0]
        random(call)
    call.refuse(f"{call.name}: a tensor that is filled afterwards", "torch.stack or torch.cat of what is to be in it")
