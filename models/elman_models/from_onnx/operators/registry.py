"""Operators by name."""

from collections.abc import Callable, Sequence

import torch

from elman_models.from_onnx.call import OnnxCall
from elman_models.from_onnx.sizes import Operand, Sizes

Result = torch.Tensor | Sizes | Sequence[Operand]
Handler = Callable[[OnnxCall], Result]
"""Gives the outputs; where there is one, that."""
OPERATORS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Registers a handler."""

    def register(handler: Handler) -> Handler:
        OPERATORS.update(dict.fromkeys(names, handler))
        return handler

    return register
