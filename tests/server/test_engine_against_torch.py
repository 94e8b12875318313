"""Random lives of sessions, in an engine stepped by hand, against torch.nn on their whole sequences."""

import pytest
from hypothesis import HealthCheck, settings
from session_machine import LIMITS, SessionMachine
from stepped import Bench
from toys import Toy


class EngineMachine(SessionMachine):
    """By hand: no thread, no event loop."""

    def make_bench(self, toy: Toy) -> Bench:
        return Bench(toy, **LIMITS)


EngineMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestSessionsAgreeWithTorch = pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")(
    EngineMachine.TestCase
)
