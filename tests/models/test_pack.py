"""Packing finds the model in the state_dict of somebody's training, and says what it cannot tell."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_cases import CELLS, CPU, Reference, as_state, assert_near, make_spec, pack, random_input
from safetensors.torch import save_file
from torch import nn

from elman_models import Stack, WeightsError, infer_spec, load, read_state_dict, write_bundle
from elman_models.errors import SpecError
from elman_models.spec import ModelSpec

StateDict = dict[str, torch.Tensor]
RENAMED = {"embedding": "word_emb", "rnn": "encoder.core", "head": "decoder"}


def infer(state_dict: StateDict, **options: Any) -> tuple[ModelSpec, StateDict]:
    return infer_spec(state_dict, name="m", version="1", **options)


def nonlinearity(cell: str) -> dict[str, str]:
    return {"nonlinearity": cell.removeprefix("rnn_")} if cell.startswith("rnn_") else {}


def renamed(state_dict: StateDict, names: dict[str, str]) -> StateDict:
    return {".".join([names[n.split(".")[0]], *n.split(".")[1:]]): t for n, t in state_dict.items()}


def zeros(**shapes: tuple[int, ...]) -> StateDict:
    return {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


GRU = zeros(rnn__weight_ih_l0=(15, 4), rnn__weight_hh_l0=(15, 5))


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
        fields["embedding"] = {"num_embeddings": 7, "embedding_dim": sizes[0]}
    if head:
        fields["head"] = {"out_features": 3, "bias": bias}
    spec = make_spec(cell, bias=bias, bidirectional=bidirectional, **fields)
    weights = {name: torch.zeros(shape) for name, shape in spec.parameter_shapes().items()}
    assert infer(weights, **nonlinearity(cell))[0] == spec


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: {"state_dict": d, "epoch": 3},
        lambda d: {"model_state_dict": d, "optimizer_state_dict": {"lr": 0.1}},
        lambda d: {"model": {"state_dict": d}},
        lambda d: {"module": d},
        lambda d: {f"module.{name}": tensor for name, tensor in d.items()},
        lambda d: {f"_orig_mod.{name}": tensor for name, tensor in d.items()},
        lambda d: {f"_orig_mod.module.{name}": tensor for name, tensor in d.items()},
        lambda d: {"model": {f"module._orig_mod.{name}": tensor for name, tensor in d.items()}},
        lambda d: {name.replace("rnn.", "rnn._orig_mod."): tensor for name, tensor in d.items()},
        lambda d: {name: nn.Parameter(tensor) for name, tensor in d.items()},
    ],
)
def test_wrappers_and_prefixes_are_taken_off(wrap: Callable[[StateDict], Any], tmp_path: Path) -> None:
    spec = make_spec(parts=True)
    state_dict = dict(Reference(spec).state_dict())
    torch.save(wrap(state_dict), tmp_path / "w.pt")
    read = read_state_dict(tmp_path / "w.pt")
    assert read.keys() == state_dict.keys()
    assert all(torch.equal(read[name], state_dict[name]) for name in state_dict)
    assert not any(tensor.requires_grad for tensor in read.values())


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


class Bomb:
    """Runs a command when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(nested: bool, legacy: bool, tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "w.pt"
    bomb = {"state_dict": {"a": torch.ones(1), "b": Bomb(marker)}} if nested else Bomb(marker)
    torch.save(bomb, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"w\.pt: refused, and not run: it holds (posix|nt)\.system, "):
        read_state_dict(file)
    assert not marker.exists()


def test_a_plain_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "w.bin"
    file.write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(WeightsError, match=r"w\.bin: refused, and not run"):
        read_state_dict(file)
    assert not marker.exists()


def test_a_whole_saved_module_is_refused_with_what_to_save_instead(tmp_path: Path) -> None:
    torch.save(nn.LSTM(2, 3), tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=r"holds torch\.nn\.modules\.rnn\.LSTM, .*save model\.state_dict\(\) instead"
    ):
        read_state_dict(tmp_path / "w.pt")


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(nn.Linear(2, 3)), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"w\.pt: "):
        read_state_dict(tmp_path / "w.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_cut_anywhere_is_refused_as_weights(legacy: bool, tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save(GRU, file, _use_new_zipfile_serialization=not legacy)
    whole = file.read_bytes()
    for length in range(0, len(whole), 41):
        file.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"w\.pt: "):
            read_state_dict(file)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ([torch.ones(1)], "expected a state_dict .*, got list"),
        (torch.ones(1), "expected a state_dict .*, got Tensor"),
        ({}, "got an empty mapping"),
        ({"epoch": 3, "a": torch.ones(1)}, r"got also epoch \(int\)"),
        ({1: torch.ones(1)}, r"got also 1 \(Tensor\)"),
        ({"a._orig_mod.b": torch.ones(1), "a.b": torch.ones(1)}, "stand twice once prefixes are taken off: a.b"),
    ],
)
def test_a_checkpoint_that_is_no_state_dict_is_refused(saved: Any, message: str, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=message):
        read_state_dict(tmp_path / "w.pt")


def test_a_checkpoint_that_holds_itself_does_not_hang(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["model"] = loop
    torch.save(loop, tmp_path / "w.pt")
    with pytest.raises(WeightsError):
        read_state_dict(tmp_path / "w.pt")


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pt: no such file"):
        read_state_dict(tmp_path / "none.pt")
    with pytest.raises(WeightsError, match=r"model\.onnx: expected a \.safetensors"):
        read_state_dict(tmp_path / "model.onnx")


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
        (zeros(enc__weight_ih_l0=(15, 4)), r"several recurrent stacks: rnn, enc; give rnn_key"),
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


@pytest.mark.parametrize(
    ("embedding", "head"),
    [("emb", "fc"), ("char_embedding", "out"), ("encoder", "decoder"), ("x", "head"), ("net.embed", "net.output.0")],
)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("flipped", [False, True])
def test_names_tell_embedding_and_head_apart_where_sizes_do_not(
    embedding: str, head: str, bias: bool, flipped: bool
) -> None:
    square = zeros(rnn__weight_ih_l0=(15, 5), rnn__weight_hh_l0=(15, 5))
    around = {f"{embedding}.weight": torch.zeros(9, 5), f"{head}.weight": torch.ones(8, 5)}
    around |= {f"{head}.bias": torch.zeros(8)} if bias else {}
    spec, weights = infer(square | dict(sorted(around.items(), reverse=flipped)))
    assert spec.embedding is not None
    assert spec.head is not None
    assert (spec.embedding.num_embeddings, spec.head.out_features, spec.head.bias) == (9, 8, bias)
    assert weights["head.weight"].all()


SQUARE = zeros(rnn__weight_ih_l0=(15, 5), rnn__weight_hh_l0=(15, 5), a__weight=(9, 5), b__weight=(8, 5))


def test_a_choice_that_sizes_and_names_leave_open_is_refused_listing_it() -> None:
    with pytest.raises(WeightsError, match=r"give embedding_key .*one of a, b, or head_key .*one of a, b$"):
        infer(SQUARE)
    del (one := dict(SQUARE))["b.weight"]
    with pytest.raises(WeightsError, match=r"one of a, none, or head_key .*one of a, none$"):
        infer(one)


@pytest.mark.parametrize("options", [{"embedding_key": "b"}, {"head_key": "a"}, {"head_key": "a.weight"}])
def test_a_key_settles_an_open_choice(options: dict[str, str]) -> None:
    spec, _ = infer(SQUARE, **options)
    assert spec.embedding is not None
    assert spec.head is not None
    assert (spec.embedding.num_embeddings, spec.head.out_features) == (8, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_key": "a", "head_key": "a"}, "both are a"),
        ({"embedding_key": "c"}, r"embedding_key: expected \[any, 5\] without a bias, got c\.weight \[8, 6\]"),
        ({"head_key": "c"}, r"head_key: expected \[any, 5\], got c\.weight \[8, 6\]"),
        ({"head_key": "d"}, r"head_key: d\.bias: expected \[8\], got \[7\]"),
    ],
)
def test_a_key_whose_tensors_do_not_fit_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        infer(SQUARE | zeros(c__weight=(8, 6), d__weight=(8, 5), d__bias=(7,)), **options)


def test_tensors_that_are_no_part_of_the_model_are_listed() -> None:
    with pytest.raises(WeightsError, match=r"stand norm\.weight \[5\], norm\.bias \[5\]; they are not"):
        infer(GRU | zeros(norm__weight=(5,), norm__bias=(5,)))


def test_a_layer_before_the_stack_is_not_mistaken_for_an_embedding() -> None:
    with pytest.raises(WeightsError, match="beside the recurrent stack stand"):
        infer(GRU | zeros(fc_in__weight=(4, 4)))
    with pytest.raises(WeightsError, match="beside the recurrent stack stand"):
        infer(GRU | zeros(embed__weight=(4, 4), embed__bias=(4,)))


def test_one_stack_of_several_is_packed_by_naming_all_its_parts() -> None:
    encoder, decoder = make_spec(parts=True), make_spec("gru", parts=True, hidden_size=7)
    both = {f"enc.{n}": t for n, t in Reference(encoder).state_dict().items()}
    both |= {f"dec.{n}": t for n, t in Reference(decoder).state_dict().items()}
    spec, weights = infer(both, rnn_key="dec.rnn", embedding_key="dec.embedding", head_key="dec.head")
    assert spec == decoder
    assert all(tensor is both[f"dec.{name}"] for name, tensor in weights.items())
    bare, _ = infer(both, rnn_key="enc.rnn", embedding_key="none", head_key="none")
    assert bare == encoder.model_copy(update={"embedding": None, "head": None})
    with pytest.raises(WeightsError, match="name all of rnn_key, embedding_key and head_key"):
        infer(both, rnn_key="dec.rnn")


def test_a_precision_is_the_spec_s_and_must_be_one() -> None:
    weights = nn.GRU(3, 4).state_dict()
    assert infer(weights)[0].precision == "float32"
    assert infer(weights, precision="int8")[0].precision == "int8"
    with pytest.raises(SpecError, match=r"precision.*int8.*int4"):
        infer(weights, precision="int4")
