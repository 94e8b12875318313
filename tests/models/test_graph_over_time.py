"""Operations that need to know of which row a step is: over time, back in time, and between rows and steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from recurrent_cases import assert_near
from torch.nn import functional

from elman_models.graph.operations import operation_of
from elman_models.graph.value import Per, Value

SIZES = np.full(6, 2)  # six steps of two rows
STEP = Value((4,))


def over_time(
    op: str,
    *inputs: Value,
    xs: Sequence[torch.Tensor],
    weights: dict[str, torch.Tensor] | None = None,
    **parameters: Any,
) -> torch.Tensor:
    operation = operation_of(op, parameters)
    operation.infer(inputs)
    result = operation.bind(inputs, weights or {})(SIZES, *xs)
    assert isinstance(result, torch.Tensor)
    return result


@pytest.mark.parametrize(
    ("op", "reference"),
    [
        ("last", lambda x: x[-1]),
        ("first", lambda x: x[0]),
        ("time_sum", lambda x: x.sum(0)),
        ("time_mean", lambda x: x.mean(0)),
        ("time_amax", lambda x: x.amax(0)),
        ("time_flip", lambda x: x.flip(0)),
        ("time_softmax", lambda x: x.softmax(0)),
        ("time_cumsum", lambda x: x.cumsum(0)),
    ],
)
def test_operations_over_time_are_those_of_the_first_axis(op: str, reference: Callable[..., torch.Tensor]) -> None:
    x = torch.randn(6, 2, 4)
    got = over_time(op, STEP, xs=[x.flatten(0, 1)])
    want = reference(x)
    assert_near(got, want.flatten(0, 1) if want.ndim == 3 else want)


def test_each_step_is_given_its_rows_value_where_lengths_differ() -> None:
    run = operation_of("each_step", {}).bind([Value((4,), per=Per.ROW)], {})
    x = torch.randn(3, 4)
    assert torch.equal(run(np.array([3, 2, 2, 1]), x), x[[0, 1, 2, 0, 1, 0, 1, 0]])  # type: ignore[arg-type]
    assert torch.equal(run(np.array([3, 3]), x), x[[0, 1, 2, 0, 1, 2]])  # type: ignore[arg-type]
    assert torch.equal(run(np.array([3]), x), x)  # type: ignore[arg-type]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("before", [0, 1, 4])
def test_a_convolution_over_time_is_torchs_with_zeros_around(before: int, groups: int) -> None:
    x, weight, bias = torch.randn(6, 2, 4), torch.randn(6, 4 // groups, 3), torch.randn(6)
    sizes = {
        "out_channels": 6,
        "kernel_size": 3,
        "dilation": 2,
        "groups": groups,
        "before": before,
        "after": 4 - before,
    }
    got = over_time("time_conv1d", STEP, xs=[x.flatten(0, 1)], weights={"weight": weight, "bias": bias}, **sizes)
    padded = functional.pad(x.permute(1, 2, 0), (before, 4 - before))
    want = functional.conv1d(padded, weight, bias, dilation=2, groups=groups).permute(2, 0, 1)
    assert_near(got, want.flatten(0, 1))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("per", [Per.STEP, Per.ROW])
def test_attention_over_time_is_softmax_of_products_times_values(per: Per, heads: int) -> None:
    k, v = torch.randn(6, 2, 4), torch.randn(6, 2, 8)
    q = torch.randn(1 if per is Per.ROW else 6, 2, 4)
    got = over_time(
        "time_attention",
        Value((4,), per=per),
        STEP,
        Value((8,)),
        xs=[q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)],
        num_heads=heads,
    )
    rows = []
    for row in range(2):
        parts = []
        for qh, kh, vh in zip(*(one[:, row].chunk(heads, -1) for one in (q, k, v)), strict=True):
            parts.append((qh @ kh.T / (4 // heads) ** 0.5).softmax(-1) @ vh)
        rows.append(torch.cat(parts, -1))
    assert_near(got, torch.stack(rows, 1).flatten(0, 1))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (2, 1), (3, 1), (3, 3)])
def test_a_causal_convolution_in_ragged_chunks_is_torchs_over_the_whole(
    kernel_size: int, dilation: int, groups: int
) -> None:
    sizes = {"out_channels": 6, "kernel_size": kernel_size, "dilation": dilation, "groups": groups}
    operation = operation_of("causal_conv1d", sizes)
    weights = {"weight": torch.randn(6, 4 // groups, kernel_size), "bias": torch.randn(6)}
    run, lookback = operation.bind([STEP], weights), (kernel_size - 1) * dilation
    rows = [torch.randn(5, 4), torch.randn(4, 4)]
    cache = torch.zeros(2, 4, lookback)
    # both rows: 3 and 2 steps, then 2 and 2, as chunks
    chunks = [(np.array([2, 2, 1]), [3, 2]), (np.array([2, 2]), [2, 2])]
    got: list[list[torch.Tensor]] = [[], []]
    at = [0, 0]
    for batch_sizes, lengths in chunks:
        x = torch.stack([rows[r][at[r] + t] for t in range(max(lengths)) for r in range(2) if t < lengths[r]])
        y = run(batch_sizes, x, *([cache] if lookback else []))  # type: ignore[arg-type]
        y, cache = y if lookback else (y, cache)  # type: ignore[misc]
        for t in range(max(lengths)):
            for r in range(2):
                if t < lengths[r]:
                    got[r].append(y[0])
                    y = y[1:]
        at = [a + n for a, n in zip(at, lengths, strict=True)]
    for row, parts in zip(rows, got, strict=True):
        padded = functional.pad(row.T[None], (lookback, 0))
        want = functional.conv1d(padded, weights["weight"], weights["bias"], dilation=dilation, groups=groups)
        assert_near(torch.stack(parts), want[0].T)
