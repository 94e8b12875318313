"""Conv1D over time, and what is taken of all steps.

Keras: `keras/src/layers/convolutional/base_conv.py`, `keras/src/layers/pooling`.
"""

import torch
from torch import nn
from torch.nn import functional

from elman_models.from_keras.layers.activations import Pointwise, activation
from elman_models.from_keras.layers.registry import Building, builds


class Conv1D(nn.Module):
    """[B, T, in] to [B, T, filters]; causal: after (kernel_size - 1) x dilation_rate zeros."""

    def __init__(self, building: Building) -> None:
        super().__init__()
        filters, size, own = building.integer("filters"), building.integer("kernel_size"), building.own()
        self._dilation, self._groups = building.integer("dilation_rate", 1), building.integer("groups", 1)
        span = (size - 1) * self._dilation
        how = str(building.layer.config.get("padding", "valid"))
        building.within(filters, 1 + span)
        self._pads = {"causal": (span, 0), "same": (span // 2, span - span // 2)}.get(how, (0, 0))
        self.register_buffer("weight", own.take("kernel", size, None, filters).permute(2, 1, 0).contiguous())
        self.register_buffer("bias", own.take("bias", filters) if building.flag("use_bias", True) else None)
        self._activation = activation(building)
        own.end()

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Over time."""
        padded = functional.pad(given.transpose(1, 2), self._pads)
        weight, bias = self.get_buffer("weight"), self._buffers["bias"]
        convolved = functional.conv1d(padded, weight, bias, 1, 0, self._dilation, self._groups)
        result: torch.Tensor = self._activation(convolved.transpose(1, 2))
        return result


@builds("Conv1D", "Convolution1D")
def _conv1d(building: Building) -> nn.Module:
    building.only("strides", (1,), 1)
    building.only("data_format", "channels_last", None)
    building.only("padding", "causal", "same", "valid")
    return Conv1D(building)


@builds("GlobalAveragePooling1D")
def _mean(building: Building) -> nn.Module:
    building.only("keepdims", False)
    building.only("data_format", "channels_last", None)
    return Pointwise(lambda given: given.mean(1))


@builds("GlobalMaxPooling1D")
def _greatest(building: Building) -> nn.Module:
    building.only("keepdims", False)
    building.only("data_format", "channels_last", None)
    return Pointwise(lambda given: given.amax(1))


@builds("Flatten")
def _flatten(building: Building) -> nn.Module:
    class Flat(nn.Module):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            if given.dim() > 2:
                raise building.layer.refuse("of a sequence: the length would be a size", "the last step, or a pooling")
            return given

    return Flat()
