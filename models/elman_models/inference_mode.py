"""torch's inference mode, entered once: where it is on already, as on the engine's thread, that costs nothing."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def in_inference_mode(function: Callable[P, T]) -> Callable[P, T]:
    """`function` in inference mode."""

    @wraps(function)
    def inside(*args: P.args, **options: P.kwargs) -> T:
        if torch.is_inference_mode_enabled():
            return function(*args, **options)
        with torch.inference_mode():
            return function(*args, **options)

    return inside
