"""Which plans fit a model on a device. Each is built only when it is measured or chosen."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import torch
from torch import nn

from elman_models.plans.affine import BFloat16Affine, OneDnnAffine
from elman_models.plans.cast import CastPlan
from elman_models.plans.fused import FusedPlan
from elman_models.plans.graph import CudaCapture, GraphPlan
from elman_models.plans.int8_affine import Int8Affine
from elman_models.plans.module import ModulePlan
from elman_models.plans.onednn_lstm import OneDnnLstmPlan
from elman_models.plans.plan import Plan
from elman_models.plans.processor import has_bfloat16, has_int8
from elman_models.spec import Cell, ModelSpec, Precision

MAX_ORT_BYTES = 1 << 30
"""Weights beyond this stay out of onnxruntime: a protobuf message ends at 2 GiB."""


@dataclass(frozen=True)
class Candidate:
    """A plan that could be built."""

    name: str
    build: Callable[[], Plan]
    takes_ragged: bool
    """Whether rows may differ in length."""
    precision: Precision = Precision.FLOAT32


def default_plan(rnn: nn.RNNBase) -> Plan:
    """The plan that runs any batch of any model, before anything is measured."""
    name = "cudnn" if next(rnn.parameters()).is_cuda else "native"
    return ModulePlan(name, rnn, onednn=False)


def candidates(spec: ModelSpec, rnn: nn.RNNBase) -> list[Candidate]:
    """Every plan that fits, on the device of `rnn`: the default one, then by what is taken where times are as good as
    equal. oneDNN's kernel slows down least when other programs take the caches; a lower precision has to pay."""
    default = default_plan(rnn)
    first = Candidate(default.name, lambda: default, takes_ragged=True)
    device = next(rnn.parameters()).device
    return [first, *(_on_cuda(spec, rnn, device) if device.type == "cuda" else _on_cpu(spec, rnn))]


def _on_cpu(spec: ModelSpec, rnn: nn.RNNBase) -> list[Candidate]:
    found: list[Candidate] = []
    is_plain_lstm = spec.cell is Cell.LSTM and not spec.proj_size  # what oneDNN's RNN kernel does
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        if spec.bidirectional and is_plain_lstm:
            found.append(Candidate("onednn", lambda: ModulePlan("onednn", rnn, onednn=True), takes_ragged=False))
        if not spec.bidirectional:
            found += _on_onednn(spec, rnn, is_plain_lstm)
    if not spec.bidirectional and not spec.proj_size and has_ort() and _weights_bytes(rnn) <= MAX_ORT_BYTES:
        found.append(Candidate("ort", partial(_build_ort, spec, rnn), takes_ragged=False))
    return sorted(found, key=lambda candidate: candidate.precision is not Precision.FLOAT32)  # stable


def _on_onednn(spec: ModelSpec, rnn: nn.RNNBase, is_plain_lstm: bool) -> list[Candidate]:
    found: list[Candidate] = []
    if is_plain_lstm:
        found.append(Candidate("onednn_lstm", lambda: OneDnnLstmPlan("onednn_lstm", spec, rnn), takes_ragged=False))
    found.append(Candidate("fused", lambda: FusedPlan("fused", spec, rnn, OneDnnAffine), takes_ragged=True))
    if spec.precision in (Precision.BFLOAT16, Precision.INT8) and has_bfloat16():
        found += _in_bfloat16(spec, rnn, is_plain_lstm)
    if spec.precision is Precision.INT8 and has_int8():
        build = partial(FusedPlan, "fused_int8", spec, rnn, Int8Affine)
        found.append(Candidate("fused_int8", build, True, Precision.INT8))
    return found


def _in_bfloat16(spec: ModelSpec, rnn: nn.RNNBase, is_plain_lstm: bool) -> list[Candidate]:
    low = Precision.BFLOAT16
    fused, lstm = "fused_bfloat16", "onednn_lstm_bfloat16"
    found = [Candidate(fused, lambda: FusedPlan(fused, spec, rnn, BFloat16Affine), True, low)]
    if is_plain_lstm:
        dtype = torch.bfloat16
        found.append(Candidate(lstm, lambda: CastPlan(OneDnnLstmPlan(lstm, spec, rnn, dtype), dtype), False, low))
    return found


def _on_cuda(spec: ModelSpec, rnn: nn.RNNBase, device: torch.device) -> list[Candidate]:
    capture = CudaCapture(device)
    found = [Candidate("cuda_graph", lambda: GraphPlan("cuda_graph", default_plan(rnn), capture), False)]
    if spec.precision is not Precision.FLOAT32:
        low = Precision.BFLOAT16 if spec.precision is Precision.INT8 else spec.precision
        cudnn, graph = f"cudnn_{low}", f"cuda_graph_{low}"
        found.append(Candidate(cudnn, lambda: _low_cudnn(cudnn, rnn, low), True, low))
        found.append(Candidate(graph, lambda: GraphPlan(graph, _low_cudnn(cudnn, rnn, low), capture), False, low))
    return found


def _low_cudnn(name: str, rnn: nn.RNNBase, precision: Precision) -> Plan:
    dtype = torch.float16 if precision is Precision.FLOAT16 else torch.bfloat16
    module = deepcopy(rnn).to(dtype)
    module.flatten_parameters()
    return CastPlan(ModulePlan(name, module, onednn=False), dtype)


def _build_ort(spec: ModelSpec, rnn: nn.RNNBase) -> Plan:
    from elman_models.plans.ort import OrtPlan  # an optional extra, of half a second

    return OrtPlan("ort", spec, rnn)


def has_ort() -> bool:
    return find_spec("onnxruntime") is not None and find_spec("onnx") is not None


def _weights_bytes(rnn: nn.RNNBase) -> int:
    return sum(parameter.nbytes for parameter in rnn.parameters())
