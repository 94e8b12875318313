"""What a streaming graph is in ONNX: every operation that is said gives what torch gives; the others are named."""

import pytest
import torch
from graph_networks import floats, graph, ids, node, recurrence, states
from operation_cases import CASES, ON_POSITIVE, Case
from recurrent_cases import CPU, assert_near
from test_graph_operations import sample

from elman_models import GraphSpec, GraphStack
from elman_models.graph.in_onnx.records import NotCoveredError, OnnxGraph, Said, Tensor
from elman_models.graph.in_onnx.streaming import EMITTERS, streaming_graph
from elman_models.graph.operations import OPERATIONS, operation_of
from elman_models.graph.value import DType, Per, Value

NOT_SAID = {
    "expm1", "log1p", "log2", "log10", "rsqrt", "threshold", "pow", "remainder", "eq", "ne", "lt", "le", "gt", "ge",
    "logical_and", "logical_or", "logical_not", "where", "cast", "flip", "logsumexp", "argmax", "argmin", "cumsum",
    "top_k", "one_hot", "group_norm", "rnn_tanh_cell", "rnn_relu_cell", "lstm_cell", "gru_cell", "last", "first",
    "time_sum", "time_mean", "time_amax", "time_flip", "time_softmax", "time_cumsum", "time_conv1d", "time_attention",
    "constant", "gru_reset_before",
}  # fmt: skip
"""A constant is known before: it is given as a weight."""
REFUSED = {("gelu", "tanh"), ("softplus", 1), ("concat", "model"), ("add", "int64")}
"""Of operations that are said the cases that are not; see the tests below."""


def weights_of(spec: GraphSpec) -> dict[str, torch.Tensor]:
    return {name: torch.rand(shape) - 0.5 for name, shape in spec.parameter_shapes().items()}


def is_refused(case: Case) -> bool:
    return any(case.op == op and what in (*case.parameters.values(), *case.per, *case.dtypes) for op, what in REFUSED)


SAID = [case for case in CASES if case.op in EMITTERS and not is_refused(case)]


def run_in_onnx(said: Said, results: tuple[str, ...], given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    onnxruntime = pytest.importorskip("onnxruntime")
    from elman_models.graph.ort import onnx_model

    kinds = said.operation.infer(said.values)
    said.graph.outputs = [
        Tensor(said.graph.add("Identity", name), ("N", *kind.features), is_ids=False)
        for name, kind in zip(results, kinds, strict=True)
    ]
    session = onnxruntime.InferenceSession(onnx_model(said.graph).SerializeToString())
    return [torch.from_numpy(one) for one in session.run(None, {name: x.numpy() for name, x in given.items()})]


@pytest.mark.parametrize("case", SAID, ids=str)
def test_an_operation_in_onnx_gives_what_torch_gives(case: Case) -> None:
    torch.manual_seed(1)
    dtypes = case.dtypes * (len(case.features) if len(case.dtypes) == 1 else 1)
    dtypes = ["positive" if case.op in ON_POSITIVE else dtype for dtype in dtypes]
    xs = [sample(*one) for one in zip(case.features, dtypes, case.per * len(dtypes), strict=False)]
    kinds = zip(case.features, dtypes, case.per * len(dtypes), strict=False)
    values = [Value(f, DType(d.replace("positive", "float32")), Per(per), case.bound) for f, d, per in kinds]
    operation, onnx = operation_of(case.op, case.parameters), OnnxGraph()
    operation.infer(values)
    wanted = operation.weights(values).items()
    weights = {name: torch.rand(one.shape) + 0.1 for name, one in wanted if name not in case.without}
    given = {f"x{i}": x for i, (x, v) in enumerate(zip(xs, values, strict=True)) if v.has_batch}
    onnx.inputs = [Tensor(name, ("N", *x.shape[1:]), is_ids=x.dtype is torch.int64) for name, x in given.items()]
    names = [name if (name := f"x{i}") in given else onnx.tensor(x) for i, x in enumerate(xs)]
    said = Said(onnx, operation, tuple(names), tuple(values), weights)
    got = run_in_onnx(said, EMITTERS[case.op](said), given)
    want = operation.bind(values, weights)(*xs)
    for g, w in zip(got, want if isinstance(want, tuple) else (want,), strict=True):
        assert g.dtype is w.dtype
        assert_near(g, w)


def test_what_is_not_said_in_onnx_is_known() -> None:
    assert set(OPERATIONS) - set(EMITTERS) == NOT_SAID


@pytest.mark.parametrize(
    ("nodes", "features", "message"),
    [
        ([node("argmax", "best", "x")], [3], r"node best \(argmax\): an operation that is not said"),
        ([node("gelu", "y", "x", approximate="tanh")], [3], r"node y \(gelu\): approximate tanh"),
        ([node("softplus", "y", "x", threshold=1.0)], [3], r"node y \(softplus\): threshold 1"),
        (
            [node("constant", "one", weights="value", features=[2]), node("concat", "y", "x", "one")],
            [3],
            r"node y \(concat\): a constant among",
        ),
        (
            [node("causal_conv1d", "y", "x", weights="weight", out_channels=4, kernel_size=1, groups=2)],
            [4],
            r"node y \(causal_conv1d\): groups without a look back",
        ),
    ],
)
def test_a_graph_that_is_not_said_is_refused_by_its_node(
    nodes: list[dict[str, object]], features: list[int], message: str
) -> None:
    spec = graph(nodes, {"y": str(nodes[-1]["name"])}, inputs=[floats("x", *features)])
    stack = GraphStack(spec, weights_of(spec), CPU)
    with pytest.raises(NotCoveredError, match=message):
        streaming_graph(stack._compiler)


def test_arithmetic_on_ids_is_not_said() -> None:
    nodes = [node("add", "next", "word", value=1), node("clamp", "id", "next", min=0, max=8)]
    nodes.append(node("embedding", "y", "id", weights="weight", num_embeddings=9, embedding_dim=3))
    spec = graph(nodes, {"y": "y"}, inputs=[ids("word", 8)])
    with pytest.raises(NotCoveredError, match=r"node next \(add\): an input of int64"):
        streaming_graph(GraphStack(spec, weights_of(spec), CPU)._compiler)


@pytest.mark.parametrize(
    ("fields", "message"), [({"precision": "bfloat16"}, "precision bfloat16"), ({"precision": "int8"}, "int8")]
)
def test_a_graph_of_a_lower_precision_is_not_said(fields: dict[str, str], message: str) -> None:
    nodes = [recurrence("gru", "rnn", "x", 5)]
    spec = graph(nodes, {"y": "rnn"}, inputs=[floats("x", 3)], states=states("gru", "rnn", 5), **fields)
    with pytest.raises(NotCoveredError, match=message):
        streaming_graph(GraphStack(spec, weights_of(spec), CPU)._compiler)


def test_weights_that_no_message_could_hold_are_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = graph([node("linear", "y", "x", weights="weight", out_features=4)], {"y": "y"}, inputs=[floats("x", 3)])
    stack = GraphStack(spec, weights_of(spec), CPU)
    monkeypatch.setattr("elman_models.graph.in_onnx.streaming.MAX_WEIGHTS_BYTES", 47)
    with pytest.raises(NotCoveredError, match="weights of 48 bytes"):
        streaming_graph(stack._compiler)
