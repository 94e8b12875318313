"""The plan of the module itself, on a CPU: torch's own kernels, and what is the whole process's left alone."""

from threading import Event, Thread
from typing import Any

import pytest
import torch
from plan_cases import make_tame_model, random_rows
from recurrent_cases import make_spec, pack
from torch.utils._python_dispatch import TorchDispatchMode

from elman_models import ModelSpec
from elman_models.plans.module import ModulePlan

DEADLINE = 30.0


class Operators(TorchDispatchMode):
    """The names of what torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def make_plan(spec: ModelSpec, *, onednn: bool = False) -> ModulePlan:
    return ModulePlan("native", make_tame_model(spec)[1].rnn, onednn=onednn)


@torch.no_grad()  # in inference_mode a dispatch mode sees no further than `lstm`
def run(plan: ModulePlan, spec: ModelSpec, lengths: list[int]) -> None:
    rows, state = random_rows(spec, lengths)
    plan.run(pack(rows), state)


@pytest.mark.parametrize("lengths", [[1], [4, 4, 4], [4, 2]], ids=str)
@pytest.mark.parametrize("fields", [{}, {"bidirectional": True}, {"proj_size": 2}], ids=str)
def test_an_lstm_runs_by_torchs_own_kernels(fields: dict[str, Any], lengths: list[int]) -> None:
    spec = make_spec("lstm", **fields)
    plan = make_plan(spec)
    with Operators() as operators:
        run(plan, spec, lengths)
    assert any("mm" in name for name in operators.names)
    assert not any("mkldnn" in name for name in operators.names)


def test_where_onednn_is_asked_for_it_runs() -> None:
    spec = make_spec("lstm", bidirectional=True)
    plan = make_plan(spec, onednn=True)
    with Operators() as operators:
        run(plan, spec, [4, 4])
    assert any("mkldnn_rnn_layer" in name for name in operators.names)


def test_two_threads_of_which_one_ends_within_the_other_leave_torchs_switch_as_it_was() -> None:
    spec = make_spec("lstm")
    first, second = make_plan(spec), make_plan(spec)
    both_began, first_ended = Event(), Event()
    seen: list[bool] = []

    def in_second(*_: object) -> None:
        both_began.set()
        assert first_ended.wait(DEADLINE)
        seen.append(torch._C._get_mkldnn_enabled())

    threads: list[Thread] = []

    def in_first(*_: object) -> None:
        threads.append(Thread(target=run, args=(second, spec, [1])))
        threads[0].start()
        assert both_began.wait(DEADLINE)

    first._module.register_forward_pre_hook(in_first)
    second._module.register_forward_pre_hook(in_second)
    before = torch._C._get_mkldnn_enabled()
    try:
        run(first, spec, [1])
        first_ended.set()
        threads[0].join(DEADLINE)
        assert seen == [before] == [torch._C._get_mkldnn_enabled()]
    finally:
        torch._C._set_mkldnn_enabled(before)
