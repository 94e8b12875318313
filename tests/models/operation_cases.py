"""Every operation of one step beside torch's, on features of several shapes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from elman_models.graph.operations.activations import NUMERIC, PLAIN

N = 5
Reference = Callable[..., Any]
ON_POSITIVE = {"log", "log2", "log10", "sqrt", "rsqrt", "log1p"}


class Case(NamedTuple):
    """An operation on inputs of these features, and what it is to give; weights are given to the reference by name."""

    op: str
    reference: Reference
    features: Sequence[tuple[int, ...]] = ((4,),)
    parameters: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it
    dtypes: Sequence[str] = ("float32",)
    per: Sequence[str] = ("step",)
    bound: int | None = None
    without: Sequence[str] = ()
    """Optional weights that are left out."""

    def __str__(self) -> str:
        return f"{self.op}-{'x'.join(map(str, self.features))}-{self.parameters}-{self.without}"


def plain() -> list[Case]:
    torch_names = {"log_sigmoid": functional.logsigmoid, "softsign": functional.softsign}
    cases = []
    for op in [*PLAIN, *NUMERIC]:
        reference = torch_names.get(op) or getattr(torch, op, None) or getattr(functional, op)
        cases.append(Case(op, reference))
    return cases


def two(op: str, reference: Reference, **fields: Any) -> list[Case]:
    """Of equal features, of features that broadcast, with a constant, and with a number."""
    shapes = [((4,), (4,)), ((3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (2, 1, 4)), ((), (4,))]
    cases = [Case(op, by_rows(reference), features, per=("step", "step"), **fields) for features in shapes]
    cases += [
        Case(op, by_rows(reference), ((2, 4), (4,)), per=per, **fields)
        for per in (("step", "model"), ("model", "step"))
    ]
    cases += [Case(op, by_rows(reference), ((4,), (3, 4)), per=("step", "model"), **fields)]
    return [*cases, Case(op, lambda x: reference(x, torch.tensor(0.25)), parameters={"value": 0.25}, **fields)]


def by_rows(reference: Reference) -> Reference:
    """The reference on one row's features alone, for each: so that broadcasting is torch's own."""

    def run(*xs: torch.Tensor, **weights: torch.Tensor) -> torch.Tensor:
        rows = [[x[row] if x.batch else x for x in xs] for row in range(N)]  # type: ignore[attr-defined]
        return torch.stack([reference(*row, **weights) for row in rows])

    return run


def attention(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return torch.matmul(q, k.mT if k.ndim > 1 else k)


def last_axes(x: torch.Tensor, shape: Sequence[int], **weights: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x, shape, weights.get("weight"), weights.get("bias"), 1e-5)


def batch_norm(x: torch.Tensor, **w: torch.Tensor) -> torch.Tensor:
    return functional.batch_norm(x, w["running_mean"], w["running_var"], w.get("weight"), w.get("bias"), eps=1e-5)


CASES = [
    *plain(),
    Case("leaky_relu", lambda x: functional.leaky_relu(x, 0.3), parameters={"negative_slope": 0.3}),
    Case("elu", lambda x: functional.elu(x, 0.5), parameters={"alpha": 0.5}),
    Case("celu", lambda x: functional.celu(x, 0.5), parameters={"alpha": 0.5}),
    Case("gelu", functional.gelu),
    Case("gelu", lambda x: functional.gelu(x, approximate="tanh"), parameters={"approximate": "tanh"}),
    Case("softplus", lambda x: functional.softplus(x, 2, 1), parameters={"beta": 2, "threshold": 1}),
    Case("hardtanh", lambda x: functional.hardtanh(x, -0.5, 0.2), parameters={"min_val": -0.5, "max_val": 0.2}),
    Case("hardshrink", lambda x: functional.hardshrink(x, 0.4), parameters={"lambd": 0.4}),
    Case("softshrink", lambda x: functional.softshrink(x, 0.4), parameters={"lambd": 0.4}),
    Case("threshold", lambda x: functional.threshold(x, 0.1, 7), parameters={"threshold": 0.1, "value": 7}),
    Case("prelu", functional.prelu),
    Case("prelu", functional.prelu, ((4, 3),), {"num_parameters": 4}),
    *two("add", torch.add),
    *two("sub", torch.sub),
    *two("mul", torch.mul),
    *two("div", torch.div),
    *two("maximum", torch.maximum),
    *two("minimum", torch.minimum),
    *two("remainder", torch.remainder),
    *two("eq", torch.eq),
    *two("ne", torch.ne),
    *two("lt", torch.lt),
    *two("le", torch.le),
    *two("gt", torch.gt),
    *two("ge", torch.ge),
    Case("pow", lambda x: x**3, parameters={"value": 3}),
    Case("pow", torch.pow, ((4,), (4,)), per=("step", "step"), dtypes=("positive", "float32")),
    Case("add", lambda x: x + 2, dtypes=("int64",), parameters={"value": 2}),
    Case("logical_and", torch.logical_and, ((4,), (4,)), dtypes=("bool", "bool"), per=("step", "step")),
    Case("logical_or", torch.logical_or, ((4,), (4,)), dtypes=("bool", "bool"), per=("step", "step")),
    Case("logical_not", torch.logical_not, dtypes=("bool",)),
    Case(
        "where",
        by_rows(torch.where),
        ((4,), (3, 4), ()),
        dtypes=("bool", "float32", "float32"),
        per=("step", "step", "model"),
    ),
    Case("clamp", lambda x: x.clamp(-0.3, 0.2), parameters={"min": -0.3, "max": 0.2}),
    Case("clamp", lambda x: x.clamp(min=0.1), parameters={"min": 0.1}),
    Case("scale", lambda x: 2 * x - 1, parameters={"scale": 2, "shift": -1}),
    Case("scale", lambda x: 3 * x, parameters={"scale": 3}),
    Case("scale", lambda x: x + 3, parameters={"shift": 3}),
    Case("cast", lambda x: x.long(), parameters={"dtype": "int64"}),
    Case("cast", lambda x: x.float(), dtypes=("int64",), parameters={"dtype": "float32"}),
    Case("reshape", lambda x: x.reshape(N, 2, 3), ((6,),), {"features": [2, 3]}),
    Case("permute", lambda x: x.permute(0, 3, 1, 2), ((2, 3, 4),), {"axes": [2, 0, 1]}),
    Case("expand", lambda x: x[:, None].expand(N, 3, 2, 4), ((1, 4),), {"features": [3, 2, 4]}),
    Case("concat", lambda a, b: torch.cat([a, b], 1), ((2, 3), (4, 3)), {"axis": 0}, per=("step", "step")),
    Case("concat", lambda a, b: torch.cat([a, b.expand(N, 2)], 1), ((3,), (2,)), per=("step", "model")),
    Case("slice", lambda x: x[:, 1:3], ((4,),), {"start": 1, "stop": 3}),
    Case("slice", lambda x: x[:, 1::2], ((5, 3),), {"axis": 0, "start": 1, "step": 2}),
    Case("slice", lambda x: x[..., -2:], ((5, 3),), {"start": -2}),
    Case("select", lambda x: x[:, -1], ((5, 3),), {"axis": 0, "index": -1}),
    Case("split", lambda x: tuple(x.split([1, 3], 1)), ((4, 2),), {"axis": 0, "sizes": [1, 3]}),
    Case("split", lambda x: (x,), ((4,),), {"sizes": [4]}),
    Case("stack", lambda a, b: torch.stack([a, b], 2), ((3,), (3,)), {"axis": 1}, per=("step", "step")),
    Case("stack", lambda a, b: torch.stack([a, b], -1), ((3,), (3,)), {"axis": -1}, per=("step", "step")),
    Case(
        "pad",
        lambda x: functional.pad(x, (0, 0, 1, 2), value=3),
        ((4, 2),),
        {"axis": 0, "before": 1, "after": 2, "value": 3},
    ),
    Case("flip", lambda x: x.flip(1), ((4, 2),), {"axis": 0}),
    Case("sum", lambda x: x.sum((1, 3)), ((4, 2, 3),), {"axes": [0, 2]}),
    Case("mean", lambda x: x.mean(-1, keepdim=True), ((4, 2),), {"keepdim": True}),
    Case("amax", lambda x: x.amax(1), ((4, 2),), {"axes": [0]}),
    Case("amin", lambda x: x.amin(2), ((4, 2),)),
    Case("logsumexp", lambda x: x.logsumexp(2), ((4, 2),)),
    Case("argmax", lambda x: x.argmax(1), ((4, 2),), {"axis": 0}),
    Case("argmin", lambda x: x.argmin(-1, keepdim=True), ((4, 2),), {"keepdim": True}),
    Case("softmax", lambda x: x.softmax(1), ((4, 2),), {"axis": 0}),
    Case("log_softmax", lambda x: x.log_softmax(-1)),
    Case("cumsum", lambda x: x.cumsum(-1)),
    Case("top_k", lambda x: tuple(x.topk(2, 1)), ((4, 2),), {"k": 2, "axis": 0}),
    Case("glu", lambda x: functional.glu(x, 1), ((4, 3),), {"axis": 0}),
    Case("one_hot", lambda x: functional.one_hot(x, 9).float(), ((3,),), {"num_classes": 9}, ("int64",), bound=9),
    Case("layer_norm", lambda x, **w: last_axes(x, [3, 2], **w), ((4, 3, 2),), {"normalized_shape": [3, 2]}),
    Case("layer_norm", lambda x, **w: last_axes(x, [4], **w), parameters={"normalized_shape": [4]}, without=["bias"]),
    Case(
        "rms_norm",
        lambda x, weight: functional.rms_norm(x, [4], weight, 0.1),
        parameters={"normalized_shape": [4], "eps": 0.1},
    ),
    Case("rms_norm", lambda x: functional.rms_norm(x, [4]), parameters={"normalized_shape": [4]}, without=["weight"]),
    Case("group_norm", lambda x, weight, bias: functional.group_norm(x, 2, weight, bias), ((4, 3),), {"num_groups": 2}),
    Case("batch_norm", batch_norm, ((4,),)),
    Case("batch_norm", batch_norm, ((4, 3, 2),), without=["weight", "bias"]),
    Case("affine", lambda x, mean, weight, bias: (x - mean) * weight + bias, ((3, 4),), {"shape": [4]}),
    Case("affine", lambda x, bias: x + bias, ((3, 4),), {"shape": [3, 1]}, without=["mean", "weight"]),
    Case("linear", functional.linear, ((3, 4),), {"out_features": 6}),
    Case("linear", functional.linear, parameters={"out_features": 6}, without=["bias"]),
    Case("embedding", functional.embedding, ((2,),), {"num_embeddings": 9, "embedding_dim": 3}, ("int64",), bound=9),
    Case("matmul", by_rows(torch.matmul), ((3, 4), (4, 2)), per=("step", "step")),
    Case("matmul", by_rows(torch.matmul), ((4,), (4, 2)), per=("step", "model")),
    Case("matmul", by_rows(torch.matmul), ((3, 4), (4,)), per=("step", "step")),
    Case("matmul", by_rows(torch.matmul), ((4,), (4,)), per=("step", "step")),
    Case("matmul", by_rows(torch.matmul), ((2, 3, 4), (4, 5)), per=("step", "step")),
    Case("matmul", by_rows(attention), ((2, 1, 4), (2, 3, 4)), {"transpose": True}, per=("step", "step")),
    Case("matmul", by_rows(attention), ((3, 4), (5, 4)), {"transpose": True}, per=("model", "step")),
    Case("matmul", by_rows(attention), ((3, 4), (4,)), {"transpose": True}, per=("step", "step")),
    Case("constant", lambda value: value, (), {"features": [2, 3]}),
    Case(
        "conv1d",
        lambda x, weight, bias: functional.conv1d(x, weight, bias, 2, 1, 1, 2),
        ((4, 7),),
        {"out_channels": 6, "kernel_size": [3], "stride": [2], "padding": [1], "groups": 2},
    ),
    Case(
        "conv2d",
        lambda x, weight: functional.conv2d(x, weight, None, 1, 0, (2, 1)),
        ((2, 7, 5),),
        {"out_channels": 3, "kernel_size": [3, 2], "dilation": [2, 1]},
        without=["bias"],
    ),
    Case(
        "max_pool1d",
        lambda x: functional.max_pool1d(x, 3, 2, 1),
        ((2, 7),),
        {"kernel_size": [3], "stride": [2], "padding": [1]},
    ),
    Case("max_pool2d", lambda x: functional.max_pool2d(x, (1, 2)), ((2, 7, 5),), {"kernel_size": [1, 2]}),
    Case("avg_pool1d", lambda x: functional.avg_pool1d(x, 3), ((2, 7),), {"kernel_size": [3]}),
    Case(
        "avg_pool2d",
        lambda x: functional.avg_pool2d(x, (2, 3), 1),
        ((2, 7, 5),),
        {"kernel_size": [2, 3], "stride": [1, 1]},
    ),
    Case(
        "lstm_cell",
        lambda x, h, c, **w: torch.lstm_cell(x, (h, c), *w.values()),
        ((4,), (3,), (3,)),
        {"hidden_size": 3},
        per=("step",) * 3,
    ),
    Case(
        "gru_cell",
        lambda x, h, **w: torch.gru_cell(x, h, *w.values()),
        ((4,), (3,)),
        {"hidden_size": 3},
        per=("step",) * 2,
    ),
    Case(
        "rnn_tanh_cell",
        lambda x, h, **w: torch.rnn_tanh_cell(x, h, *w.values()),
        ((4,), (3,)),
        {"hidden_size": 3, "bias": False},
        per=("step",) * 2,
    ),
    Case(
        "rnn_relu_cell",
        lambda x, h, **w: torch.rnn_relu_cell(x, h.expand(N, 3), *w.values()),
        ((4,), (3,)),
        {"hidden_size": 3},
        per=("step", "model"),
    ),
]
