"""The engine's fast loop on a card: random lives of sessions, two batches under way, against torch.nn on the CPU."""

import pytest
import torch
from beside import BesideBench
from hypothesis import HealthCheck, settings
from session_machine import LIMITS, SessionMachine
from stepped import Bench
from toys import Toy


class CudaMachine(SessionMachine):
    """Staged through page-locked memory, on streams of their own."""

    def make_bench(self, toy: Toy) -> Bench:
        return BesideBench(toy, torch.device("cuda"), **LIMITS)

    def compare(self, *, in_order: bool = True) -> None:
        super().compare(in_order=False)  # several batches land in a turn


CudaMachine.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestSessionsOnACardAgreeWithTorch = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")(
    CudaMachine.TestCase
)
