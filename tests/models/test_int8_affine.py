"""Products of 8-bit integers: near the exact ones, each row's by itself."""

import pytest
import torch

from elman_models.plans.affine import Activation
from elman_models.plans.int8_affine import Int8Affine
from elman_models.plans.processor import is_exact_int8

pytestmark = [
    pytest.mark.hardware,
    pytest.mark.skipif(not is_exact_int8(), reason="products of int8 are cut off on this processor: no plan uses them"),
]

IN, OUT, ROWS = 48, 32, 40


def exact(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, activation: Activation) -> torch.Tensor:
    y = torch.nn.functional.linear(x, weight, bias)
    return y if activation == "none" else getattr(torch, activation)(y)


@pytest.mark.parametrize("activation", ["none", "sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("apart", [0, 8, IN])
def test_is_near_the_exact_product(activation: Activation, has_bias: bool, apart: int) -> None:
    torch.manual_seed(1)
    weight, bias = torch.randn(OUT, IN) / IN**0.5, torch.randn(OUT) if has_bias else None
    affine, x = Int8Affine(weight, bias, activation, apart), torch.randn(ROWS, IN)
    got, want = affine(x), exact(x, weight, bias, activation)
    assert got.dtype is torch.float32
    assert 0 < (got - want).abs().max() < 0.05


def test_no_row_depends_on_those_beside_it() -> None:
    torch.manual_seed(2)
    affine = Int8Affine(torch.randn(OUT, IN), torch.randn(OUT), "none", 8)
    x = torch.randn(ROWS, IN) * torch.logspace(-3, 3, ROWS)[:, None]
    got = affine(x)
    for row in range(ROWS):
        beside = torch.cat((x[row : row + 1], 1e6 * torch.randn(row, IN)))
        assert torch.equal(affine(beside)[0], got[row])


def test_large_inputs_leave_the_state_its_digits() -> None:
    torch.manual_seed(3)
    weight = torch.cat((torch.randn(OUT, 8) / 1000, torch.randn(OUT, IN - 8) / IN**0.5), 1)
    x = torch.cat((1000 * torch.randn(ROWS, 8), torch.rand(ROWS, IN - 8)), 1)
    want = exact(x, weight, None, "none")
    apart, together = (Int8Affine(weight, None, "none", columns)(x) for columns in (8, 0))
    assert (apart - want).abs().max() < 0.2
    assert (together - want).abs().max() > 1


def test_rows_of_zeros_are_exact_and_what_is_no_number_stays_none() -> None:
    bias = torch.randn(OUT)
    affine, x = Int8Affine(torch.zeros(OUT, IN), bias, "none", 8), torch.zeros(2, IN)
    x[1, 3] = torch.nan
    got = affine(x)
    assert torch.equal(got[0], bias)
    assert got[1].isnan().all()
