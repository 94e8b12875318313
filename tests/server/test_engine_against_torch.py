"""Random lives of sessions, in an engine stepped by hand, against torch.nn on their whole sequences."""

import pytest
from hypothesis import settings
from session_machine import LIMITS, SETTINGS, SLICE, SessionMachine
from stepped import Bench
from toys import Toy

from elman_server.exchange import slices


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", SLICE)


class EngineMachine(SessionMachine):
    """By hand: no thread, no event loop."""

    def make_bench(self, toy: Toy) -> Bench:
        return Bench(toy, **LIMITS)


EngineMachine.TestCase.settings = settings(
    SETTINGS,
    max_examples=60,
)
TestSessionsAgreeWithTorch = pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")(
    EngineMachine.TestCase
)
