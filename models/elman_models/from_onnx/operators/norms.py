"""Normalisations, as in evaluation."""

import torch
from torch.nn import functional

from elman_models.from_onnx.call import OnnxCall
from elman_models.from_onnx.operators.registry import handles


@handles("LayerNormalization")
def layer_norm(call: OnnxCall) -> torch.Tensor:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, over the axes from `axis` on."""
    given, scale = call.tensor(0), call.tensor(1)
    axis = call.axis(given.dim(), -1)
    if scale.dim() != given.dim() - axis:
        raise call.refuse(f"scale: expected {given.dim() - axis} axes, got {scale.dim()}")
    return functional.layer_norm(given, list(scale.shape), scale, call.optional(2), call.number("epsilon", 1e-5))


@handles("RMSNormalization")
def rms_norm(call: OnnxCall) -> torch.Tensor:
    """x / sqrt(mean(x^2) + epsilon) * scale, over the axes from `axis` on."""
    given, scale = call.tensor(0), call.tensor(1)
    call.axis(given.dim(), -1)
    return functional.rms_norm(given, list(scale.shape), scale, call.number("epsilon", 1e-5))


@handles("BatchNormalization")
def batch_norm(call: OnnxCall) -> torch.Tensor:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, by what was learned; channels are axis 1."""
    if call.integer("training_mode", 0):
        raise call.refuse("batch norm by the batch's own mean", "export the module in evaluation mode")
    given, scale, bias, mean, variance = (call.tensor(index) for index in range(5))
    return functional.batch_norm(given, mean, variance, scale, bias, False, 0.0, call.number("epsilon", 1e-5))
