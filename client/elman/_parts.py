"""How fine what is long is cut, where somebody watches."""

from __future__ import annotations

from typing import Final

NUM_PARTS: Final = 100
"""About as many times as a bar moves."""
MIN_PART_STEPS: Final = 256
"""Fewer steps are not worth a message of their own."""


def part_steps(num_steps: int) -> int:
    """Steps of a part."""
    return max(MIN_PART_STEPS, -(-num_steps // NUM_PARTS))
