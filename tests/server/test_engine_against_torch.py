"""Random lives of sessions, in an engine stepped by hand, against torch.nn on their whole sequences."""

import pytest
from hypothesis import settings
from session_machine import LIMITS, SETTINGS, SLICE, SessionMachine
from stepped_engine import SteppedEngine
from toys import Toy

from elman_server.exchange import slices


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", SLICE)


class EngineMachine(SessionMachine):
    """By hand: no thread, no event loop."""

    def make_engine(self, toy: Toy) -> SteppedEngine:
        return SteppedEngine(toy, **LIMITS)


EngineMachine.TestCase.settings = settings(
    SETTINGS,
    max_examples=60,
)
TestSessionsAgreeWithTorch = pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")(
    EngineMachine.TestCase
)
