"""The order of model versions."""

import re


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Orders versions with runs of digits as numbers: "9" before "10", "1.2" before "1.10"."""
    parts = re.findall(r"\d+|\D+", version)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)
