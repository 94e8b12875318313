"""The stack on CUDA: one storage for cuDNN, and the CPU's results within a stated tolerance."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from elman_models import Cell, EmbeddingSpec, HeadSpec, ModelSpec, Packed, Stack, State, StatePool, batch_sizes

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CELLS = [*((cell, 0) for cell in Cell), (Cell.LSTM, 24)]
TOLERANCE = 1e-5
"""x max(1, |y|): a stack on CUDA turns TF32 off, of which cuDNN would make use."""


def make_spec(cell: Cell, proj_size: int, *, bidirectional: bool = False) -> ModelSpec:
    return ModelSpec(
        name="m",
        cell=cell,
        input_size=32,
        hidden_size=48,
        proj_size=proj_size,
        num_layers=2,
        bidirectional=bidirectional,
        embedding=EmbeddingSpec(num_embeddings=50, embedding_dim=32),
        head=HeadSpec(out_features=20),
    )


def make_stacks(spec: ModelSpec) -> tuple[Stack, Stack]:
    torch.manual_seed(4)
    bound = spec.hidden_size**-0.5
    weights = {name: torch.empty(shape).uniform_(-bound, bound) for name, shape in spec.parameter_shapes().items()}
    return Stack(spec, weights, CPU), Stack(spec, weights, CUDA)


def ragged_ids() -> Packed:
    sizes = batch_sizes(np.array([9, 7, 7, 2, 1]))
    return Packed(torch.randint(50, (int(sizes.sum()),)), sizes)


def assert_near(got: torch.Tensor, want: torch.Tensor) -> None:
    assert ((got.cpu() - want).abs() <= TOLERANCE * want.abs().clamp(min=1)).all(), (got.cpu() - want).abs().max()


def compare(spec: ModelSpec) -> None:
    on_cpu, on_cuda = make_stacks(spec)
    packed = ragged_ids()
    want, want_state = on_cpu.step(packed, on_cpu.initial_state(packed.num_rows))
    moved = packed._replace(data=packed.data.to(CUDA))
    got, got_state = on_cuda.step(moved, on_cuda.initial_state(packed.num_rows))
    assert got.device.type == "cuda"
    assert_near(got, want)
    assert_near(got_state.h, want_state.h)
    if want_state.c is not None and got_state.c is not None:
        assert_near(got_state.c, want_state.c)


@pytest.mark.parametrize(("cell", "proj_size"), CELLS)
def test_recurrent_parameters_lie_in_one_contiguous_storage(cell: Cell, proj_size: int) -> None:
    rnn = make_stacks(make_spec(cell, proj_size))[1].rnn
    parameters = list(rnn.parameters())
    assert {p.device.type for p in parameters} == {"cuda"}
    assert len({p.untyped_storage().data_ptr() for p in parameters}) == 1
    assert all(p.is_contiguous() for p in parameters)
    spans = sorted((p.data_ptr(), p.data_ptr() + p.nbytes) for p in parameters)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))  # none lies on another
    assert parameters[0].untyped_storage().nbytes() >= sum(p.nbytes for p in parameters)


@pytest.mark.filterwarnings("error:RNN module weights are not part of single contiguous chunk")
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "proj_size"), CELLS)
def test_a_ragged_batch_gives_on_cuda_what_it_gives_on_the_cpu(cell: Cell, proj_size: int, bidirectional: bool) -> None:
    compare(make_spec(cell, proj_size, bidirectional=bidirectional))


def test_the_pool_on_cuda_reads_replaces_and_resets_the_slots_it_is_told() -> None:
    spec = make_spec(Cell.LSTM, 24)
    pool, everywhere = StatePool(spec, 6, CUDA), np.arange(6)
    zeros = State.zeros(spec, 6, CPU)
    assert zeros.c is not None
    before = State(torch.randn_like(zeros.h), torch.randn_like(zeros.c))
    pool.replace(everywhere, before)  # from the CPU
    pool.reset(np.array([4, 1]))
    after = pool.read(everywhere)
    assert after.h.device.type == "cuda"
    assert torch.equal(after.h.cpu()[:, [0, 2, 3, 5]], before.h[:, [0, 2, 3, 5]])
    assert not after.h[:, [1, 4]].any()


def test_a_slot_outside_the_pool_is_refused_before_the_device_sees_it() -> None:
    pool = StatePool(make_spec(Cell.GRU, 0), 6, CUDA)
    with pytest.raises(ValueError, match="outside the pool"):
        pool.read(np.array([6]))
    pool.reset(np.array([0]))
    torch.cuda.synchronize()
