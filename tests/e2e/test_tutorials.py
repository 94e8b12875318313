"""The examples of the field's tutorials, through the service, shape by shape."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from served import Serve
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from toys import assert_near

import elman
from elman_models import infer_spec, pack, pack_step, write_bundle

STACKS: dict[str, nn.RNNBase] = {}


def stack(name: str, make: Any) -> nn.RNNBase:
    torch.manual_seed(len(STACKS))
    STACKS[name] = make().eval().requires_grad_(False)
    return STACKS[name]


stack("rnn", lambda: nn.RNN(10, 20, 3))
stack("rnn_both_ways", lambda: nn.RNN(10, 20, 3, bidirectional=True))
stack("rnn_relu", lambda: nn.RNN(10, 20, 2, nonlinearity="relu"))
stack("gru", lambda: nn.GRU(10, 20, 2))
stack("lstm", lambda: nn.LSTM(10, 20, 2))
stack("lstm_no_bias", lambda: nn.LSTM(10, 20, 2, bias=False))
stack("gru_batch_first", lambda: nn.GRU(10, 20, 2, batch_first=True))
CELL = nn.GRUCell(10, 20).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tutorials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tutorials")
    for name, module in STACKS.items():
        relu = "relu" if name == "rnn_relu" else "tanh"
        spec, weights = infer_spec(module.state_dict(), name=name, nonlinearity=relu if "rnn" in name else None)
        write_bundle(folder / name, spec, weights)
    torch.manual_seed(1)
    pack(STACKS["gru_batch_first"], (torch.randn(3, 5, 10),), out=folder / "packed", name="packed", quiet=True)
    pack_step(CELL, torch.randn(3, 10), torch.zeros(3, 20), out=folder / "cell", name="cell", quiet=True)
    return folder


@pytest.fixture
async def client(serve: Serve, tutorials: Path) -> AsyncIterator[elman.AsyncClient]:
    served = await serve(models=tutorials)
    async with elman.AsyncClient(served.server.address) as client:
        yield client


@pytest.mark.parametrize(("name", "directions"), [("rnn", 1), ("rnn_both_ways", 2)])
async def test_an_rnn_of_three_layers_gives_output_and_h_n_in_torchs_shapes(
    client: elman.AsyncClient, name: str, directions: int
) -> None:
    input, h_0 = torch.randn(5, 7, 10), torch.randn(3 * directions, 7, 20)
    output, state = await (await client.model(name)).infer(input, h_0=h_0)
    assert output.shape == (5, 7, 20 * directions)
    assert state.h_n.shape == (3 * directions, 7, 20)
    expected, h_n = STACKS[name](input, h_0)
    assert_near(output, expected.numpy())
    assert_near(state.h_n, h_n.numpy())


async def test_the_last_output_is_the_last_layers_h_n(client: elman.AsyncClient) -> None:
    output, state = await (await client.model("rnn")).infer(torch.randn(5, 7, 10))
    assert_near(output[-1], state.h_n[-1])


async def test_a_gru_begins_with_the_h_0_that_is_given(client: elman.AsyncClient) -> None:
    input, h_0 = torch.randn(5, 3, 10), torch.randn(2, 3, 20)
    output, state = await (await client.model("gru")).infer(input, h_0=h_0)
    expected, h_n = STACKS["gru"](input, h_0)
    assert output.shape == (5, 3, 20)
    assert_near(output, expected.numpy())
    assert_near(state.h_n, h_n.numpy())


async def test_an_lstm_begins_with_h_0_and_c_0_and_ends_with_both(client: elman.AsyncClient) -> None:
    input, h_0, c_0 = torch.randn(5, 3, 10), torch.randn(2, 3, 20), torch.randn(2, 3, 20)
    output, state = await (await client.model("lstm")).infer(input, h_0=h_0, c_0=c_0)
    expected, (h_n, c_n) = STACKS["lstm"](input, (h_0, c_0))
    assert_near(output, expected.numpy())
    assert_near(state.h_n, h_n.numpy())
    assert_near(state.c_n, c_n.numpy())


@pytest.mark.parametrize("name", ["rnn", "rnn_relu", "lstm_no_bias"])
async def test_activations_and_a_stack_without_bias_are_what_they_are_in_torch(
    client: elman.AsyncClient, name: str
) -> None:
    input = torch.randn(6, 2, 10)
    output, _ = await (await client.model(name)).infer(input)
    assert_near(output, STACKS[name](input)[0].numpy())


async def test_a_cell_in_a_loop_is_a_session_that_is_stepped(client: elman.AsyncClient) -> None:
    input, hx, expected = torch.randn(6, 10), torch.zeros(20), []
    async with (await client.model("cell")).session() as session:
        for step in input:
            hx = CELL(step, hx)
            expected.append(hx.numpy())
            assert_near(np.asarray(await session.step(step)).reshape(20), hx.numpy())
    whole, _ = await (await client.model("cell")).infer(input)
    assert_near(np.asarray(whole).reshape(6, 20), np.stack(expected))


async def test_batch_first_is_the_modules_layout_and_not_the_services(client: elman.AsyncClient) -> None:
    input = torch.randn(3, 5, 10)  # [B, T, 10]
    expected = STACKS["gru_batch_first"](input)[0].numpy()
    for name in ("gru_batch_first", "packed"):
        output, _ = await (await client.model(name)).infer(input.transpose(0, 1))
        assert_near(output, expected.swapaxes(0, 1))


async def test_packed_sequences_are_a_list_of_sequences(client: elman.AsyncClient) -> None:
    sequences = [torch.randn(length, 10) for length in (2, 6, 4)]
    padded = nn.utils.rnn.pad_sequence(sequences)
    packed = pack_padded_sequence(padded, torch.tensor([2, 6, 4]), enforce_sorted=False)
    expected, h_n = STACKS["gru"](packed)
    outputs, lengths = pad_packed_sequence(expected)
    got, state = await (await client.model("gru")).infer(sequences)
    for k, output in enumerate(got):
        assert_near(output, outputs[: int(lengths[k]), k].numpy())
    assert_near(state.h_n, h_n.numpy())


def test_weights_have_torchs_names_and_shapes(tutorials: Path) -> None:
    from elman_models import read_spec

    for name, module in STACKS.items():
        shapes = {f"rnn.{key}": tuple(tensor.shape) for key, tensor in module.state_dict().items()}
        assert read_spec(tutorials / name).parameter_shapes() == shapes
