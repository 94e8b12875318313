"""bfloat16: asked for by the spec, and no further from the truth than docs say."""

from collections.abc import Iterator

import pytest
import torch
from plan_cases import make_workshop
from recurrent_cases import CELLS, CPU, make_spec, random_input

from elman_models import ModelSpec, Packed, Stack, State, batch_sizes
from elman_models.stack import recurrent_module

CELL_NAMES = [cell for cell in CELLS if cell != "lstm_projected"]
STEPS, ROWS, HIDDEN = 1000, 4, 128
FLOAT32_BOUND, BFLOAT16_BOUND = 5e-6, 0.02
"""Largest absolute error of the output over 1,000 steps against float64; weights as torch initialises them."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    # Thousands of launches of microseconds: threads that wait for each other on a busy machine make minutes of them.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_stack(spec: ModelSpec) -> Stack:
    torch.manual_seed(8)
    bound = spec.hidden_size**-0.5
    return Stack(spec, {n: torch.empty(s).uniform_(-bound, bound) for n, s in spec.parameter_shapes().items()}, CPU)


def exact(stack: Stack, data: torch.Tensor) -> torch.Tensor:
    module = recurrent_module(stack.spec).double()
    module.load_state_dict({name: tensor.double() for name, tensor in stack.rnn.state_dict().items()})
    output: torch.Tensor = module(data.double())[0]
    return output


def errors(stack: Stack) -> dict[str, float]:
    """Each plan's largest error, in chunks of 10 steps, between which states are kept as float32."""
    data = random_input(stack.spec, STEPS, ROWS)
    want = exact(stack, data)
    workshop, found = make_workshop(stack), {}
    for name in workshop.candidates:
        plan, state = workshop.plan(name), State.zeros(stack.spec, ROWS, CPU)
        outputs = []
        for chunk in data.split(10):  # type: ignore[no-untyped-call]
            packed = Packed(chunk.reshape(-1, stack.spec.input_size), batch_sizes(torch.tensor([10] * ROWS).numpy()))
            output, state = plan.run(packed, state)
            outputs.append(output.view(10, ROWS, -1))
        assert state.h.dtype is torch.float32
        found[name] = float((torch.cat(outputs) - want).abs().max())
    return found


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_over_a_thousand_steps_each_precision_stays_within_its_bound(cell: str) -> None:
    stack = make_stack(make_spec(cell, num_layers=2, input_size=64, hidden_size=HIDDEN, precision="bfloat16"))
    found = errors(stack)
    low = {name: error for name, error in found.items() if name.endswith("bfloat16")}
    assert low
    assert max(low.values()) < BFLOAT16_BOUND
    assert max(error for name, error in found.items() if name not in low) < FLOAT32_BOUND


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_model_that_does_not_ask_for_bfloat16_has_no_such_plan(precision: str) -> None:
    stack = make_stack(make_spec("lstm", precision=precision))
    assert not [name for name in make_workshop(stack).candidates if "float16" in name]
