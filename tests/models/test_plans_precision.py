"""Lower precisions: asked for by the spec, and no further from the truth than docs say."""

import pytest
import torch
from plan_cases import make_factory
from recurrent_cases import CELLS, CPU, make_spec, random_input

from elman_models import ModelSpec, Packed, Stack, State, batch_sizes
from elman_models.plans import candidates as candidates_module
from elman_models.plans.processor import has_bfloat16, is_exact_int8
from elman_models.recurrent_module import recurrent_module

CELL_NAMES = [cell for cell in CELLS if cell != "lstm_projected"]
STEPS, ROWS, HIDDEN = 1000, 4, 128
BOUNDS = {"float32": 5e-6, "bfloat16": 0.02, "int8": 0.05}
"""Largest absolute error of the output over 1,000 steps against float64; weights as torch initialises them."""


def make_stack(spec: ModelSpec) -> Stack:
    torch.manual_seed(8)
    bound = spec.hidden_size**-0.5
    return Stack(spec, {n: torch.empty(s).uniform_(-bound, bound) for n, s in spec.parameter_shapes().items()}, CPU)


def exact(stack: Stack, data: torch.Tensor) -> torch.Tensor:
    module = recurrent_module(stack.spec).double()
    module.load_state_dict({name: tensor.double() for name, tensor in stack.rnn.state_dict().items()})
    output: torch.Tensor = module(data.double())[0]
    return output


def errors(stack: Stack, precision: str) -> dict[str, float]:
    """The largest error of each plan of a precision, in chunks of 10 steps, between which states are float32."""
    data = random_input(stack.spec, STEPS, ROWS)
    want = exact(stack, data)
    factory, found = make_factory(stack), {}
    for name in [n for n, candidate in factory.candidates.items() if candidate.precision == precision]:
        plan, state = factory.plan(name), State.zeros(stack.spec, ROWS, CPU)
        outputs = []
        for chunk in data.split(10):  # type: ignore[no-untyped-call]
            packed = Packed(chunk.reshape(-1, stack.spec.input_size), batch_sizes(torch.tensor([10] * ROWS).numpy()))
            output, state = plan.run(packed, state)
            outputs.append(output.view(10, ROWS, -1))
        assert state.h.dtype is torch.float32
        found[name] = float((torch.cat(outputs) - want).abs().max())
    return found


RUNS = {"float32": lambda: True, "bfloat16": has_bfloat16, "int8": is_exact_int8}
"""Whether a precision can be computed in here at all, however slowly."""


@pytest.mark.hardware
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_over_a_thousand_steps_each_precision_stays_within_its_bound(
    monkeypatch: pytest.MonkeyPatch, cell: str, precision: str
) -> None:
    if not RUNS[precision]():
        pytest.skip(f"this processor has no instructions for {precision}, or is told not to use them")
    monkeypatch.setattr(candidates_module, "has_int8", is_exact_int8)  # also where it is slower
    stack = make_stack(make_spec(cell, num_layers=2, input_size=64, hidden_size=HIDDEN, precision="int8"))
    found = errors(stack, precision)
    assert found
    assert all(error < BOUNDS[precision] for error in found.values()), found


LOWER = {"float32": set(), "float16": set(), "bfloat16": {"bfloat16"}, "int8": {"bfloat16", "int8"}}


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("lacks", [set(), {"int8"}, {"bfloat16"}, {"bfloat16", "int8"}], ids=str)
def test_a_plan_has_no_lower_precision_than_its_model_asks_for_and_the_processor_has(
    monkeypatch: pytest.MonkeyPatch, precision: str, lacks: set[str]
) -> None:
    monkeypatch.setattr(candidates_module, "has_int8", lambda: "int8" not in lacks)
    monkeypatch.setattr(candidates_module, "has_bfloat16", lambda: "bfloat16" not in lacks)
    candidates = make_factory(make_stack(make_spec("lstm", precision=precision))).candidates.values()
    found = {str(candidate.precision) for candidate in candidates} - {"float32"}
    assert found == LOWER[precision] - lacks
