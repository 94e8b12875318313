"""Every operation gives what torch gives, on random values."""

import pytest
import torch
from operation_cases import CASES, ON_POSITIVE, Case, N
from recurrent_cases import assert_near

from elman_models.graph.operations import OPERATIONS, operation_of
from elman_models.graph.value import DType, Per, Value

OVER_TIME = {
    "rnn_tanh", "rnn_relu", "lstm", "gru", "gru_reset_before", "causal_conv1d", "each_step", "last", "first",
    "time_sum", "time_mean", "time_amax", "time_flip", "time_softmax", "time_cumsum", "time_conv1d", "time_attention",
}  # fmt: skip
"""What needs to know of which row a step is: in test_graph_over_time and test_graph_chunking."""


def sample(features: tuple[int, ...], dtype: str, per: str) -> torch.Tensor:
    shape = features if per == "model" else (N, *features)
    if dtype == "int64":
        return torch.randint(0, 9, shape)
    if dtype == "bool":
        return torch.rand(shape) < 0.5
    return torch.rand(shape) + 0.1 if dtype == "positive" else torch.randn(shape)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operation_gives_what_torch_gives(case: Case) -> None:
    torch.manual_seed(1)
    dtypes = case.dtypes * (len(case.features) if len(case.dtypes) == 1 else 1)
    dtypes = ["positive" if case.op in ON_POSITIVE else dtype for dtype in dtypes]
    operation = operation_of(case.op, case.parameters)
    kinds = zip(case.features, dtypes, case.per, strict=case.op != "constant")
    xs = [sample(features, dtype, per) for features, dtype, per in kinds]
    for x, per in zip(xs, case.per, strict=False):
        x.batch = per == "step"  # type: ignore[attr-defined] - for `by_rows`
    values = [
        Value(features, DType(dtype.replace("positive", "float32")), Per(per), case.bound)
        for features, dtype, per in zip(case.features, dtypes, case.per, strict=False)
    ]
    results = operation.infer(values)
    weights = {
        name: torch.rand(weight.shape) + 0.1
        for name, weight in operation.weights(values).items()
        if name not in case.without
    }
    got = operation.bind(values, weights)(*xs)
    want = case.reference(*xs, **weights)
    pairs = list(zip(got, want, strict=True)) if isinstance(want, tuple) and len(want) > 1 else [(got, want)]
    for (g, w), value in zip(pairs, results, strict=True):
        wanted = w[0] if isinstance(w, tuple) else w
        assert tuple(g.shape) == ((N,) if value.has_batch else ()) + value.features
        assert g.dtype is value.dtype.torch
        assert torch.equal(g, wanted) if g.dtype is not torch.float32 else True
        assert_near(g.float(), wanted.float())


def test_every_operation_of_the_vocabulary_is_held_against_torch() -> None:
    assert {case.op for case in CASES} | OVER_TIME == set(OPERATIONS)
