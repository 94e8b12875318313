"""Plans on CUDA: every candidate against the CPU, graphs captured or refused, and the table filled by measuring."""

import numpy as np
import pytest
import torch

from elman_models import Cell, ModelSpec, Packed, Stack, State, batch_sizes
from elman_models.plans.candidates import candidates
from elman_models.plans.factory import PlanFactory
from elman_models.plans.graph import CudaCapture, GraphPlan
from elman_models.plans.module import ModulePlan

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CELLS = [*((cell, 0) for cell in Cell), (Cell.LSTM, 24)]
TOLERANCES = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 6e-2}
"""x max(1, |y|) over 9 steps; a stack on CUDA turns TF32 off, of which cuDNN would make use."""


def make_spec(cell: Cell, proj_size: int = 0, precision: str = "float32") -> ModelSpec:
    fields = {"name": "m", "cell": cell, "input_size": 32, "hidden_size": 48, "num_layers": 2, "proj_size": proj_size}
    return ModelSpec.model_validate(fields | {"precision": precision})


def make_stack(spec: ModelSpec, device: torch.device) -> Stack:
    torch.manual_seed(4)
    bound = spec.hidden_size**-0.5
    return Stack(spec, {n: torch.empty(s).uniform_(-bound, bound) for n, s in spec.parameter_shapes().items()}, device)


def make_batch(spec: ModelSpec, lengths: list[int]) -> tuple[Packed, State]:
    sizes = batch_sizes(np.array(lengths))
    zeros = State.zeros(spec, len(lengths), CPU)
    state = State(torch.randn_like(zeros.h), None if zeros.c is None else torch.randn_like(zeros.c))
    return Packed(torch.randn(int(sizes.sum()), spec.input_size), sizes), state


def to_cuda(input: Packed, state: State) -> tuple[Packed, State]:
    c = None if state.c is None else state.c.to(CUDA)
    return input._replace(data=input.data.to(CUDA)), State(state.h.to(CUDA), c)


def assert_near(got: torch.Tensor | None, want: torch.Tensor | None, tolerance: float) -> None:
    assert (got is None) == (want is None)
    if got is not None and want is not None:
        assert got.dtype is torch.float32
        assert ((got.cpu() - want).abs() <= tolerance * want.abs().clamp(min=1)).all(), (got.cpu() - want).abs().max()


@torch.inference_mode()
@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize(("cell", "proj_size"), CELLS)
def test_every_plan_gives_on_cuda_what_the_module_gives_on_the_cpu(cell: Cell, proj_size: int, precision: str) -> None:
    spec = make_spec(cell, proj_size, precision)
    on_cpu, on_cuda = make_stack(spec, CPU), make_stack(spec, CUDA)
    factory = PlanFactory(spec, candidates(spec, on_cuda.rnn))
    for lengths in ([1, 1], [9, 9, 9], [9, 7, 7, 2, 1]):
        batch = make_batch(spec, lengths)
        want, after = on_cpu.step(*batch)
        for name, candidate in factory.candidates.items():
            if len(set(lengths)) > 1 and not candidate.takes_ragged:
                continue
            for _ in range(4):  # a graph is captured the second time and replayed from then on
                got, state = factory.plan(name).run(*to_cuda(*batch))
                assert_near(got, want, TOLERANCES[candidate.precision])
                assert_near(state.h, after.h, TOLERANCES[candidate.precision])
                assert_near(state.c, after.c, TOLERANCES[candidate.precision])


def test_half_precision_is_a_candidate_only_where_the_spec_asks_for_it() -> None:
    for precision, names in {
        "float32": ["cudnn", "cuda_graph"],
        "float16": ["cudnn", "cuda_graph", "cudnn_float16", "cuda_graph_float16"],
        "bfloat16": ["cudnn", "cuda_graph", "cudnn_bfloat16", "cuda_graph_bfloat16"],
        "int8": ["cudnn", "cuda_graph", "cudnn_bfloat16", "cuda_graph_bfloat16"],
    }.items():
        spec = make_spec(Cell.LSTM, precision=precision)
        assert [c.name for c in candidates(spec, make_stack(spec, CUDA).rnn)] == names


@torch.inference_mode()
def test_some_small_shape_is_captured() -> None:
    spec = make_spec(Cell.LSTM)
    stack = make_stack(spec, CUDA)
    captured: list[bool] = []
    capture = CudaCapture(CUDA)

    def told(work):  # type: ignore[no-untyped-def]
        result = capture(work)
        captured.append(True)
        return result

    plan = GraphPlan("graph", ModulePlan("cudnn", stack.rnn, onednn=False), told)
    for rows in (1, 2, 8, 32, 128):
        batch = to_cuda(*make_batch(spec, [1] * rows))
        for _ in range(2):
            plan.run(*batch)
    assert captured


@torch.inference_mode()
def test_after_a_capture_that_fails_the_device_still_works() -> None:
    spec = make_spec(Cell.GRU)
    stack = make_stack(spec, CUDA)

    class Synchronizing(ModulePlan):
        def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
            result = super().run(input, state)
            torch.cuda.synchronize()  # which no capture allows
            return result

    plan = GraphPlan("graph", Synchronizing("cudnn", stack.rnn, onednn=False), CudaCapture(CUDA))
    batch = make_batch(spec, [3, 3])
    want, _ = make_stack(spec, CPU).step(*batch)
    for _ in range(4):
        got, _ = plan.run(*to_cuda(*batch))
        assert_near(got, want, TOLERANCES["float32"])


def test_warm_up_fills_the_table_and_the_stack_steps_by_it() -> None:
    spec = make_spec(Cell.LSTM, precision="bfloat16")
    stack = make_stack(spec, CUDA)
    stack.warm_up(budget_seconds=10)
    assert stack.plans.names
    for lengths in ([1] * 8, [5, 3, 1]):
        batch = make_batch(spec, lengths)
        want, _ = make_stack(spec, CPU).step(*batch)
        for _ in range(3):
            got, _ = stack.step(*to_cuda(*batch))
            assert_near(got, want, TOLERANCES["bfloat16"])
