"""Modules as people write them, packed from the module, and held against it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from graph_cases import pack_inputs, random_context, random_inputs, stacked
from module_networks import SEQUENCES, STEPS
from recurrent_cases import assert_near
from refused_networks import REFUSED
from torch import nn

from elman_models import ExportError, GraphStack, Packed, load_graph, pack, pack_step
from elman_models.graph.value import Per


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_module_is_packed_and_gives_what_it_gives_whole_in_chunks_and_beside_others(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    case = SEQUENCES[name]
    packed = pack(case.make(), case.example(), out=tmp_path / "m", name="m", quiet=True)
    assert packed.spec.kind == case.kind
    assert tuple(output.name for output in packed.spec.outputs) == case.outputs
    assert packed.differences.largest <= 1e-5
    assert (packed.differences.chunks is None) == (case.kind == "whole")
    stack = load_graph(tmp_path / "m", torch.device("cpu"))
    assert stack.spec == packed.spec
    assert_last_steps(stack)


def assert_last_steps(stack: GraphStack) -> None:
    """The last steps alone are those of all steps; what there is one of for a row is that either way."""
    rows = [random_inputs(stack.spec, length) for length in (4, 2, 2)]
    state = stack.initial_state(3, stacked([random_context(stack.spec) for _ in rows]) if stack.spec.context else {})
    inputs = pack_inputs(stack.spec, rows)
    every, _ = stack.step(inputs, state)
    last, _ = stack.step(inputs, state, last_only=True)
    for output in stack.spec.outputs:
        expected = every[output.name]
        if stack.spec.inferred().values[output.value].per is Per.STEP:
            expected = Packed(inputs.data[0], inputs.batch_sizes).last_steps(expected)
        assert_near(last[output.name], expected)


@pytest.mark.parametrize("name", STEPS)
def test_a_module_of_one_step_is_packed_and_gives_what_a_loop_over_it_gives(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    case = STEPS[name]
    given = (case.make(), case.inputs(), case.state())
    packed = pack_step(*given, context=case.context, out=tmp_path / "m", name="m", quiet=True)
    assert tuple(one.name for one in packed.spec.context) == case.context
    assert packed.spec.keeps_sessions
    assert sorted(state.name for state in packed.spec.states) == sorted(case.states)
    assert tuple(output.name for output in packed.spec.outputs) == case.outputs
    assert packed.differences.largest <= 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_a_module_that_no_bundle_can_be_is_refused_by_its_line_and_reason_and_nothing_is_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, line, reason = REFUSED[name]
    with pytest.raises(ExportError) as caught:
        pack(make(), (torch.randn(3, 5, 3),), out=tmp_path / "m", name="m", quiet=True)
    assert "refused_networks.py, line " in str(caught.value)
    assert line in str(caught.value)
    assert reason in str(caught.value)
    assert not (tmp_path / "m").exists()
    assert capsys.readouterr() == ("", "")  # torch prints half a graph where it gives up


def test_an_example_of_another_size_than_the_modules_is_refused_by_its_size(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="input_size: expected 3, got 5"):
        pack(nn.GRU(3, 4), (torch.randn(7, 2, 5),), out=tmp_path / "m", name="m", quiet=True)


class Counting(nn.Module):
    """Gives something else at every call, which no export sees."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.calls = nn.GRU(3, 4), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.gru(x)[0] + float(self.calls)


def test_a_bundle_that_gives_something_else_than_its_module_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not give what the module gives: largest difference"):
        pack(Counting(), (torch.randn(5, 3, 3),), out=tmp_path / "m", name="m", quiet=True)
    assert not (tmp_path / "m").exists()


class OfTheExample(nn.Module):
    """Divides by a size that the export has for a constant, which nothing but other sizes shows."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.gru, self.axis = nn.GRU(3, 4), axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sizes = (7, 3) if torch.compiler.is_exporting() else x.shape
        return self.gru(x)[0] / sizes[self.axis]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_division_by_the_examples_length_or_batch_shows_where_others_are_tried(axis: int, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="a number that depends on the length, the batch or the call"):
        pack(OfTheExample(axis), (torch.randn(7, 3, 3),), out=tmp_path / "m", name="m", quiet=True)


def test_what_is_computed_of_weights_alone_is_computed_once_and_dropout_and_wrappers_are_gone(tmp_path: Path) -> None:
    packed = pack(SEQUENCES["weight norm"].make(), (torch.randn(3, 5, 4),), out=tmp_path / "w", name="w", quiet=True)
    assert {node.op for node in packed.spec.nodes} == {"linear", "causal_conv1d", "elu", "rnn_tanh"}
    dropping = SEQUENCES["tied language model"]
    packed = pack(dropping.make(), dropping.example(), out=tmp_path / "d", name="d", quiet=True)
    assert {node.op for node in packed.spec.nodes} == {"embedding", "lstm", "linear", "log_softmax"}
    assert len(packed.assembled.weights) == 10  # the table, which is the decoder's weight, its bias, four of each layer
    scaled = SEQUENCES["scaled forecaster"]
    packed = pack(scaled.make(), scaled.example(), out=tmp_path / "s", name="s", quiet=True)
    assert {"mean", "std"} <= {*packed.assembled.weights}


class Giving(nn.Module):
    """A GRU, attention, and what is given of them."""

    def __init__(self, gives: Callable[..., Any]) -> None:
        super().__init__()
        self.gru, self.attention, self.gives = nn.GRU(3, 4), nn.MultiheadAttention(4, 2), gives
        self.deviation = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        return self.gives(self, y)


@dataclass
class Given:
    policy: torch.Tensor


NOT_GIVEN: dict[str, tuple[Callable[..., Any], str]] = {
    "weights of attention": (lambda m, y: m.attention(y, y, y), "output output_1: is nothing that a graph can give"),
    "which step was the greatest": (lambda m, y: y.max(0), "is nothing that a graph can give"),
    "a parameter as it is": (lambda m, y: (y, m.deviation), "output output_1: is the same whatever the input is"),
    "an object": (lambda m, y: Given(y), "it gives a Given. Instead: a tensor, or a tuple"),
}


@pytest.mark.parametrize("what", NOT_GIVEN)
def test_what_no_output_can_be_is_refused_and_not_left_out(what: str, tmp_path: Path) -> None:
    gives, message = NOT_GIVEN[what]
    with pytest.raises(ExportError, match=message):
        pack(Giving(gives), (torch.randn(5, 3, 3),), out=tmp_path / "m", name="m", quiet=True)


def test_what_is_no_tensor_is_told_and_not_left_out_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gives = Giving(lambda m, y: {"y": y, "loss": None, "beta": 0.5})
    made = pack(gives, (torch.randn(5, 3, 3),), out=tmp_path / "m", name="m")
    assert made.left_out == ("loss (None)", "beta (0.5)")
    assert "  left out loss (None), beta (0.5): no tensor, so no output\n" in capsys.readouterr().out


def test_a_module_that_gives_no_tensor_is_refused_by_what_it_gives(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"gives no tensor: output_0 \(None\), output_1 \(3\). Instead: "):
        pack(Giving(lambda m, y: (None, 3)), (torch.randn(5, 3, 3),), out=tmp_path / "m", name="m", quiet=True)


class Interpolating(nn.Module):
    """Sums of products in one call, as optimised code has them, their numbers given and not."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.mix = nn.GRU(3, 4), nn.Parameter(torch.rand(4))

    def forward(self, x: torch.Tensor) -> Any:
        y, _ = self.gru(x)
        mixed = torch.lerp(y, y.sin(), self.mix) + torch.lerp(y.cos(), self.mix, 0.3)
        product = torch.addcmul(self.mix, y, y.exp()) + torch.addcmul(y, y, self.mix, value=-0.5)
        return mixed, product, torch.addcdiv(y, self.mix, y.exp(), value=2)


def test_interpolations_and_sums_of_products_are_what_torch_has_them_be(tmp_path: Path) -> None:
    torch.manual_seed(1)
    packed = pack(Interpolating(), (torch.randn(5, 3, 3),), out=tmp_path / "m", name="m", quiet=True)
    assert packed.spec.kind == "streaming"
    assert packed.differences.largest <= 1e-5


def test_a_module_stays_as_it_is(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)).train()
    before = nn.LSTM.forward
    recurrent = nn.LSTM(3, 4).train()
    pack(recurrent, (torch.randn(5, 3, 3),), out=tmp_path / "m", name="m", quiet=True)
    assert recurrent.training
    assert all(parameter.requires_grad for parameter in recurrent.parameters())
    assert nn.LSTM.forward is before
    assert module.training


def test_what_was_made_of_it_is_printed_node_by_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = pack(SEQUENCES["scaled forecaster"].make(), (torch.randn(3, 5, 3),), out=tmp_path / "m", name="forecaster")
    printed = capsys.readouterr().out
    assert printed == f"{packed}\n"
    assert "forecaster, version 1: streaming" in printed
    assert "node     lstm = lstm(" in printed
    assert "module_networks.py, line " in printed
    assert "output   output: " in printed
    assert "of the last step" in printed
    assert "proved   largest difference " in printed


def test_outputs_are_named_as_asked_and_inputs_after_the_arguments(tmp_path: Path) -> None:
    case = SEQUENCES["deepar lstm"]
    packed = pack(case.make(), case.example(), out=tmp_path / "m", name="m", output_names=["mu", "sigma"], quiet=True)
    assert [one.name for one in packed.spec.inputs] == ["item", "cov"]
    assert [one.name for one in packed.spec.outputs] == ["mu", "sigma"]


class Ending(nn.Module):
    """A bidirectional stack whose last output is given alone."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, 8] of [B, T, 3]."""
        output: torch.Tensor = self.rnn(x)[0]
        return output


def test_what_a_stack_ends_with_is_held_against_the_module_though_it_gives_it_not(tmp_path: Path) -> None:
    module = Ending()
    packed = pack(module, (torch.randn(2, 5, 3),), out=tmp_path / "m", name="m", quiet=True)
    assert [(state.name, state.shape) for state in packed.spec.states] == [("rnn.h", (4, 4)), ("rnn.c", (4, 4))]
    assert "state    rnn.h: [4, 4], begins at zeros" in str(packed)
    module.rnn.register_forward_hook(lambda _module, _given, told: (told[0], (told[1][0], told[1][1] + 1)))
    with pytest.raises(ExportError, match=r"largest difference \S+ in state rnn\.c"):
        pack(module, (torch.randn(2, 5, 3),), out=tmp_path / "n", name="n", quiet=True)


class Named(nn.Module):
    """Two stacks whose names are numbered as those of nodes are, where a name is in use already."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.add_module(name, nn.GRU(3, 4, batch_first=True, bidirectional=True))
        self.add_module(f"{name}_1", nn.GRU(8, 4, batch_first=True, bidirectional=True))


class Siamese(Named):
    """One stack run twice, and another over both."""

    def __init__(self) -> None:
        super().__init__("encoder")
        self.encoder_1 = nn.GRU(16, 4, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """[B, T, 8] of [B, T, 3] and [B, T, 3]."""
        both = torch.cat([self.encoder(x)[0], self.encoder(y)[0]], -1)
        output: torch.Tensor = self.encoder_1(both)[0]
        return output


class AsTheInput(Named):
    """An input, which bears a stack's name."""

    def __init__(self) -> None:
        super().__init__("gru")

    def forward(self, gru: torch.Tensor) -> torch.Tensor:
        """[B, T, 8] of [B, T, 3]."""
        output: torch.Tensor = self.gru_1(self.gru(gru)[0])[0]
        return output


class OfTwoNames(Named):
    """One stack of two names, the second of which it is run by."""

    def __init__(self) -> None:
        super().__init__("gru")
        self.other = self.gru_1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, 8] of [B, T, 3]."""
        output: torch.Tensor = self.other(self.gru(x)[0])[0]
        return output


@pytest.mark.parametrize(
    ("make", "inputs", "states"),
    [
        (Siamese, 2, ["encoder.h", "encoder_2.h", "encoder_1.h"]),
        (AsTheInput, 1, ["gru_2.h", "gru_1.h"]),
    ],
)
def test_a_state_bears_the_name_of_no_other_stack(
    make: Callable[[], nn.Module], inputs: int, states: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    given = tuple(torch.randn(2, 5, 3) for _ in range(inputs))
    packed = pack(make(), given, out=tmp_path / "m", name="m", quiet=True)
    assert [state.name for state in packed.spec.states] == states
    assert packed.differences.largest <= 1e-5


def test_what_a_stack_of_two_names_ends_with_is_held_against_the_module(tmp_path: Path) -> None:
    module = OfTwoNames()
    packed = pack(module, (torch.randn(2, 5, 3),), out=tmp_path / "m", name="m", quiet=True)
    assert [state.name for state in packed.spec.states] == ["gru.h", "other.h"]
    module.other.register_forward_hook(lambda _module, _given, told: (told[0], told[1] + 1))
    with pytest.raises(ExportError, match=r"largest difference \S+ in state other\.h"):
        pack(module, (torch.randn(2, 5, 3),), out=tmp_path / "n", name="n", quiet=True)


def test_too_many_output_names_are_refused(tmp_path: Path) -> None:
    case = SEQUENCES["deepar lstm"]
    with pytest.raises(ExportError, match="output_names: expected at most 2 names"):
        pack(case.make(), case.example(), out=tmp_path / "m", name="m", output_names=["a", "b", "c"], quiet=True)


def test_a_step_begins_with_what_is_given(tmp_path: Path) -> None:
    case, begin = STEPS["minimal gru"], torch.randn(5)
    packed = pack_step(
        case.make(), case.inputs(), case.state(), initial=begin, out=tmp_path / "m", name="m", quiet=True
    )
    stack = load_graph(tmp_path / "m", torch.device("cpu"))
    assert torch.equal(stack.initial_state(2)["h"], begin.expand(2, -1))
    assert packed.differences.largest <= 1e-5


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: m.double(), lambda m: m.bfloat16().float()])
def test_a_module_in_a_wrapper_or_of_another_dtype_is_packed(wrap: Any, tmp_path: Path) -> None:
    case = SEQUENCES["residual layer norm"]
    packed = pack(wrap(case.make()), case.example(), out=tmp_path / "m", name="m", quiet=True)
    assert packed.differences.largest <= 1e-5


def test_what_is_no_module_or_no_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"expected a torch\.nn\.Module, got dict"):
        pack({}, (torch.randn(3, 5, 3),), out=tmp_path / "m", name="m")  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="example_inputs: expected a tuple with at least one tensor"):
        pack(nn.GRU(3, 4), (), out=tmp_path / "m", name="m")
