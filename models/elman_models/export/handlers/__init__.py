"""What each of torch's operations becomes: handlers by the operation's name."""

from elman_models.export.handlers import (  # noqa: F401 - each fills the registry
    attention,
    convolutions,
    creation,
    einsum,
    elementwise,
    identities,
    joins,
    norms,
    parts,
    picking,
    products,
    recurrences,
    reductions,
    reshapes,
)
from elman_models.export.handlers.registry import HANDLERS

__all__ = ["HANDLERS"]
