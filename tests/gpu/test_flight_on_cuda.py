"""The engine's fast loop on a card: random lives of sessions, two batches under way, against torch.nn on the CPU."""

import pytest
import torch
from hypothesis import settings
from overlapped_by_hand import OverlappedByHand
from session_machine import LIMITS, SETTINGS, SessionMachine
from stepped_engine import SteppedEngine
from toys import Toy


class CudaMachine(SessionMachine):
    """Staged through page-locked memory, on streams of their own."""

    def make_engine(self, toy: Toy) -> SteppedEngine:
        return OverlappedByHand(toy, torch.device("cuda"), **LIMITS)

    def compare(self, *, in_order: bool = True) -> None:
        super().compare(in_order=False)  # several batches land in a turn


CudaMachine.TestCase.settings = settings(
    SETTINGS,
    max_examples=30,
)
TestSessionsOnACardAgreeWithTorch = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")(
    CudaMachine.TestCase
)
