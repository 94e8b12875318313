"""What this machine's processor computes with: found by trying, since a machine may be told to use less than it has."""

import torch

from elman_models.plans.affine import BFloat16Affine
from elman_models.plans.int8_affine import product

_SIZE = 64


def has_bfloat16() -> bool:
    """Whether oneDNN multiplies bfloat16 numbers here: it wants AVX-512 or AVX-NE-CONVERT."""
    ones = torch.ones(_SIZE, _SIZE)
    try:
        found = BFloat16Affine(ones, None, "none", _SIZE)(ones)
    except Exception:  # noqa: BLE001 - backends raise what they like, and an operator that torch has no more, too
        return False
    return bool((found == _SIZE).all())


def has_int8() -> bool:
    """Whether 8-bit integers are multiplied here, faster than wider numbers (AVX-512 VNNI) and without error.

    Without VNNI oneDNN adds pairs of products as 16-bit integers, and the largest are cut off without a word.
    """
    vnni = getattr(torch.cpu, "_is_vnni_supported", None)  # not public: where it is gone, measuring says what is faster
    if vnni is not None and not vnni():
        return False
    return is_exact_int8()


def is_exact_int8() -> bool:
    """Whether the largest products of 8-bit integers come out whole."""
    largest = torch.full((_SIZE, _SIZE), 127, dtype=torch.int8)
    try:
        found = [product(sign * largest, largest) for sign in (1, -1)]
    except Exception:  # noqa: BLE001 - see above
        return False
    return all(bool((one == sign * 127 * 127 * _SIZE).all()) for one, sign in zip(found, (1, -1), strict=True))
