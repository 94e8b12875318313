"""Products and convolutions."""

import torch
from torch.nn import functional

from elman_models.from_onnx.call import OnnxCall
from elman_models.from_onnx.operators.registry import handles
from elman_models.from_onnx.sizes import check_numel


@handles("Gemm")
def gemm(call: OnnxCall) -> torch.Tensor:
    """alpha A' B' + beta C."""
    left, right, bias = call.tensor(0), call.tensor(1), call.optional(2)
    left = left.t() if call.integer("transA", 0) else left
    right = right if call.integer("transB", 0) else right.t()
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    right = right if alpha == 1 else right * alpha
    if bias is not None:
        bias = bias if beta == 1 else bias * beta
        if bias.dim() == 1 and bias.shape[0] == right.shape[0]:
            return functional.linear(left, right, bias)
    product = functional.linear(left, right)
    return product if bias is None else product + bias


@handles("MatMul")
def matmul(call: OnnxCall) -> torch.Tensor:
    """As NumPy's; with a third input, which the file does not have, that is added (see `rewriting`)."""
    if call.has(2):
        return functional.linear(call.tensor(0), call.tensor(1).t(), call.tensor(2))
    return torch.matmul(call.tensor(0), call.tensor(1))


@handles("Conv")
def convolution(call: OnnxCall) -> torch.Tensor:
    """[B, channels, places], or two axes of places."""
    given, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    rank = weight.dim() - 2
    if rank not in (1, 2):
        raise call.refuse(f"a convolution over {rank} axes; expected 1 or 2")
    if call.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise call.refuse(f"auto_pad {call.text('auto_pad', '')}", "pads")
    pads = call.ints("pads", 9) or (0,) * 2 * rank
    strides, dilations = (list(call.ints(name, 9) or (1,) * rank) for name in ("strides", "dilations"))
    if not len(strides) == len(dilations) == rank == len(pads) // 2:
        raise call.refuse("pads, strides and dilations: expected them for each axis of places")
    check_numel([*weight.shape[1:2], *(1 + abs(pad) for pad in pads)])
    before, after = pads[:rank], pads[rank:]
    if before != after:
        given = functional.pad(given, [p for axis in reversed(range(rank)) for p in (before[axis], after[axis])])
        before = (0,) * rank
    function = functional.conv1d if rank == 1 else functional.conv2d
    return function(given, weight, bias, strides, list(before), dilations, call.integer("group", 1))
