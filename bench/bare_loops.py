"""Bare loops: the model stepped in this process, without a server, by torch and by onnxruntime."""

import time
from collections.abc import Callable

import numpy as np
import torch

from bench.bundles import reference
from bench.effort import Effort
from bench.onnx_lstm import onnx_session

Call = Callable[[], object]
"""One step of some sessions."""


@torch.inference_mode()
def rate(call: Call, rows: int, seconds: float) -> float:
    """Session-steps a second of a call that steps so many rows."""
    for _ in range(5):
        call()
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        call()
        count += rows
    return count / (time.perf_counter() - began)


def torch_call(effort: Effort, rows: int) -> Call:
    """`y, state = module(x, state)`, torch as it comes."""
    module, x = reference(effort), torch.randn(1, rows, effort.input_size)
    state = [torch.zeros(module.num_layers, rows, module.hidden_size) for _ in range(2)]

    def call() -> None:
        _, state[:] = module(x, tuple(state))

    return call


def onnx_call(effort: Effort, rows: int) -> Call:
    """The same through onnxruntime."""
    module = reference(effort)
    session, x = onnx_session(module), np.random.default_rng(0).standard_normal((1, rows, effort.input_size))
    names = [f"{name}{layer}" for layer in range(module.num_layers) for name in "hc"]
    feeds = {name: np.zeros((1, rows, module.hidden_size), np.float32) for name in names} | {"x": x.astype(np.float32)}

    def call() -> None:
        _, *states = session.run(None, feeds)
        feeds.update(zip(names, states, strict=True))

    return call
