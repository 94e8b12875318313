"""Packing finds the model in the state_dict of somebody's training, and says what it cannot tell."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_cases import CELLS, CPU, Reference, as_state, assert_near, make_spec, pack, random_input
from safetensors.torch import save_file
from state_dicts import GRU, StateDict, infer, module, zeros
from torch import nn

from elman_models import PackOptions, Stack, WeightsError, infer_model, load, read_state_dict, write_bundle
from elman_models.errors import SpecError

RENAMED = {"embedding": "word_emb", "rnn": "encoder.core", "head": "decoder"}


def nonlinearity(cell: str) -> dict[str, str]:
    return {"nonlinearity": cell.removeprefix("rnn_")} if cell.startswith("rnn_") else {}


def renamed(state_dict: StateDict, names: dict[str, str]) -> StateDict:
    return {".".join([names[n.split(".")[0]], *n.split(".")[1:]]): t for n, t in state_dict.items()}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("parts", [False, True], ids=["bare", "embedding_and_head"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_saved_module_becomes_a_bundle_that_computes_the_same(
    cell: str, bidirectional: bool, parts: bool, suffix: str, tmp_path: Path
) -> None:
    spec = make_spec(cell, num_layers=3, bidirectional=bidirectional, parts=parts)
    reference, file = Reference(spec), tmp_path / f"weights{suffix}"
    state_dict = renamed(reference.state_dict(), RENAMED)
    if suffix == ".safetensors":
        save_file(state_dict, file)
    else:
        torch.save(state_dict, file)
    inferred, weights = infer(read_state_dict(file), **nonlinearity(cell))
    assert inferred == spec
    stack = load(write_bundle(tmp_path / "b", inferred, weights), CPU)
    sequence = random_input(spec, 4)
    assert_near(stack.step(pack([sequence]), stack.initial_state(1))[0], reference(sequence)[0])


@settings(deadline=None, max_examples=60)
@given(
    cell=st.sampled_from(sorted(CELLS)),
    sizes=st.tuples(st.integers(1, 9), st.integers(4, 9), st.integers(1, 4)),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
def test_every_shape_of_model_is_inferred_back(
    cell: str, sizes: tuple[int, int, int], flags: tuple[bool, bool, bool, bool]
) -> None:
    bias, bidirectional, embedding, head = flags
    fields: dict[str, Any] = {"input_size": sizes[0], "hidden_size": sizes[1], "num_layers": sizes[2]}
    if embedding:
        fields["embedding"] = {"num_embeddings": 23, "embedding_dim": sizes[0]}
    if head:
        fields["head"] = {"out_features": 3, "bias": bias}
    spec = make_spec(cell, bias=bias, bidirectional=bidirectional, **fields)
    weights = {name: torch.zeros(shape) for name, shape in spec.parameter_shapes().items()}
    assert infer(weights, **nonlinearity(cell))[0] == spec


@pytest.mark.parametrize("module", [nn.LSTM(4, 5, proj_size=3), nn.GRU(4, 5, bias=False), nn.LSTMCell(4, 5)])
def test_a_bare_module_of_torch_needs_no_prefix(module: nn.Module) -> None:
    spec, weights = infer(dict(module.state_dict()))
    assert (spec.input_size, spec.hidden_size, spec.num_layers) == (4, 5, 1)
    assert weights.keys() == spec.parameter_shapes().keys()


@pytest.mark.parametrize("make", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_of_torch_is_a_stack_of_one_layer(make: Callable[[int, int], nn.Module]) -> None:
    cell = make(4, 5).requires_grad_(False)
    options = {"nonlinearity": "tanh"} if make is nn.RNNCell else {}
    spec, weights = infer({f"net.cell.{name}": tensor for name, tensor in cell.state_dict().items()}, **options)
    stack, x = Stack(spec, weights, CPU), torch.randn(1, 4)
    assert_near(stack.step(pack([x]), stack.initial_state(1))[1].h[0], as_state(cell(x)).h)


def test_an_rnn_without_its_nonlinearity_is_refused_naming_the_option() -> None:
    rnn = dict(nn.RNN(4, 5, nonlinearity="relu").state_dict())
    with pytest.raises(WeightsError, match=r"nonlinearity \(--nonlinearity\): tanh or relu"):
        infer(rnn)
    assert infer(rnn, nonlinearity="relu")[0].cell == infer(rnn, cell="rnn_relu")[0].cell == "rnn_relu"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"nonlinearity": "gelu"}, SpecError, "nonlinearity: expected tanh or relu, got 'gelu'"),
        ({"cell": "mamba"}, SpecError, "cell: expected one of rnn_tanh"),
        ({"cell": "rnn_tanh", "nonlinearity": "relu"}, SpecError, "contradict each other"),
        ({"cell": "lstm"}, WeightsError, "is gru by its shapes, not lstm"),
        ({"nonlinearity": "tanh"}, WeightsError, "is gru by its shapes, not rnn_tanh"),
        ({"rnn_key": "other"}, WeightsError, "rnn_key: no recurrent stack 'other'; there are rnn"),
        ({"head_key": "fc"}, WeightsError, "head_key: there is no fc.weight beside the stack; there are none"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options: dict[str, str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        infer(GRU, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (zeros(rnn__weight_ih_l0=(10, 4)), r"rnn\.weight_ih_l0: 10 rows are not 4 \(LSTM\), 3 \(GRU\) or 1"),
        (zeros(rnn__weight_hh_l0=(12, 5)), r"rnn\.weight_hh_l0: expected shape \[15, 5\], got \[12, 5\]"),
        (zeros(rnn__weight_ih_l0=(15,)), r"rnn\.weight_ih_l0: expected a matrix"),
        (zeros(rnn__weight_ih_l0=(15, 0)), r"rnn\.weight_ih_l0: expected a matrix"),
        (zeros(rnn__bias_ih_l0=(15,)), r"has rnn\.weight_ih_l0 but lacks bias_hh_l0"),
        (zeros(rnn__weight_ih_l2=(15, 5), rnn__weight_hh_l2=(15, 5)), "lacks weight_ih_l1, weight_hh_l1"),
        (zeros(rnn__weight_ih_l1=(15, 4), rnn__weight_hh_l1=(15, 5)), r"rnn\.weight_ih_l1: expected shape \[15, 5\]"),
        (zeros(rnn__weight_ih_l0_reverse=(15, 4)), "lacks weight_hh_l0_reverse"),
        (zeros(rnn__weight_hr_l1=(2, 5)), r"lacks weight_ih_l1"),
        (zeros(rnn__weight_hr_l0=(2, 5)), "proj_size: only lstm has a projection"),
        (zeros(rnn__weight_ih=(15, 4)), r"rnn\.weight_ih_l0 and rnn\.weight_ih: are one parameter by two names"),
        (zeros(rnn__weight_ih_l9999=(15, 5)), "num_layers: input should be less than or equal to 256"),
        (zeros(enc__weight_ih_l0=(15, 4)), r"several recurrent stacks: rnn, enc; from weights alone one is packed"),
    ],
)
def test_parameters_that_contradict_each_other_are_named(changes: StateDict, message: str) -> None:
    with pytest.raises((WeightsError, SpecError), match=message):
        infer(GRU | changes)


def test_a_state_dict_without_a_stack_or_without_its_first_layer_is_refused() -> None:
    with pytest.raises(WeightsError, match="no recurrent stack"):
        infer(zeros(fc__weight=(3, 4)))
    with pytest.raises(WeightsError, match="lacks weight_hh_l0"):
        infer(zeros(rnn__weight_ih_l0=(15, 4)))


def test_a_precision_is_the_spec_s_and_must_be_one() -> None:
    weights = nn.GRU(3, 4).state_dict()
    assert infer(weights)[0].precision == "float32"
    assert infer(weights, precision="int8")[0].precision == "int8"
    with pytest.raises(SpecError, match=r"precision.*int8.*int4"):
        infer(weights, precision="int4")


@pytest.mark.parametrize("field", ["name", "version"])
def test_a_name_that_no_model_may_have_is_refused_in_words_and_not_blamed_on_the_weights(field: str) -> None:
    with pytest.raises(SpecError, match=rf"^options: {field}: expected 1 to 128 letters .*, got 'my model'$"):
        infer_model(GRU, PackOptions(**{"name": "m", field: "my model"}))


def test_what_was_found_is_told_by_the_attributes_names() -> None:
    network = module(emb=nn.Embedding(9, 4), core=nn.GRU(4, 5), out=nn.Linear(5, 2), extra=nn.Linear(5, 3))
    found = infer_model(network.state_dict(), PackOptions(name="m", leave_out=["extra"]))
    assert found.attributes == {"embedding": "emb", "stack": "core", "head": "out"}
    assert found.left_out == ("extra.weight", "extra.bias")
