"""Steps that no bundle can be are refused by name or line, and nothing is written; a state goes by its names."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from elman_models import ExportError, GraphStack, PackedInputs, load_graph, pack_step


class Step(nn.Module):
    """A step whose output and next state are computed by a function of x, h and the cell's h."""

    def __init__(self, gives: Callable[..., Any]) -> None:
        super().__init__()
        self.cell, self.gives = nn.GRUCell(3, 4), gives

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> Any:
        return self.gives(x, h, self.cell(x, h))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def forward(self, x: torch.Tensor, more: torch.Tensor, h: torch.Tensor) -> Any:
        h = self.cell(x, h)
        return h, h


class Turned(nn.Module):
    """Gives its state in another order than it takes it, and what holds several tensors within."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(3, 4), nn.LSTMCell(4, 4)])

    def forward(self, x: torch.Tensor, state: dict[str, Any]) -> Any:
        h, c = self.cells[0](x, (state["first"]["h"], state["first"]["c"]))
        g, d = self.cells[1](h, state["second"])
        return g, {"second": (g, d), "first": {"c": c, "h": h}}


class OfDict(nn.Module):
    def __init__(self, renamed: bool) -> None:
        super().__init__()
        self.cell, self.renamed = nn.GRUCell(3, 4), renamed

    def forward(self, x: torch.Tensor, state: dict[str, torch.Tensor]) -> Any:
        h = self.cell(x, state["h"])
        return h, {"hidden": h} if self.renamed else {"h": h, "more": h}


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "a state of another size": (
        lambda x, h, n: (n, n[:, :3]),
        "states.h: expected next of float32 [4], got float32 [3]",
    ),
    "a state without its batch": (lambda x, h, n: (n, n[0]), "one row of the batch"),
    "no next state": (lambda x, h, n: (), "expected outputs and 1 next states, got 0 tensors"),
    "rows that see each other": (lambda x, h, n: (n - n.mean(0), n), "rows of one batch see each other"),
    "rows that see each other in the state": (lambda x, h, n: (n, n.flip(0)), "rows see each other"),
    "a branch on data": (lambda x, h, n: (n, n if n.sum() > 0 else h), "torch.where"),
    "noise": (lambda x, h, n: (n + torch.rand_like(n), n), "random numbers"),
    "a division by the batch": (lambda x, h, n: (n / n.size(0), n), "depends on the batch"),
    "what is not known": (lambda x, h, n: (n.sort(1)[0], n), "sort: an operation that is not known"),
}


def refused(module: nn.Module, inputs: Any, state: Any, out: Path, *words: str) -> None:
    with pytest.raises(ExportError) as caught:
        pack_step(module, inputs, state, out=out, name="m", quiet=True)
    for said in words:
        assert said in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize("what", REFUSED)
def test_a_step_that_no_bundle_can_be_is_refused(what: str, tmp_path: Path) -> None:
    gives, message = REFUSED[what]
    refused(Step(gives), (torch.randn(3, 3),), (torch.zeros(3, 4),), tmp_path / "m", message)


def test_an_input_that_nobody_uses_is_refused_by_name(tmp_path: Path) -> None:
    inputs = (torch.randn(3, 3), torch.randn(3, 2))
    refused(Unused(), inputs, (torch.zeros(3, 4),), tmp_path / "m", "more: nobody uses it")


@pytest.mark.parametrize("renamed", [True, False])
def test_a_state_that_bears_other_names_afterwards_is_refused(renamed: bool, tmp_path: Path) -> None:
    refused(
        OfDict(renamed),
        (torch.randn(3, 3),),
        {"h": torch.zeros(3, 4)},
        tmp_path / "m",
        "expected a next state of h, as the state has, got",
    )


def test_a_state_of_another_batch_is_refused(tmp_path: Path) -> None:
    refused(Step(lambda x, h, n: (n, n)), (torch.randn(3, 3),), (torch.zeros(2, 4),), tmp_path / "m", "batch size")


def stepped(stack: GraphStack, x: torch.Tensor) -> torch.Tensor:
    """[T, B, ...] of the bundle's only output, from where it begins."""
    inputs = PackedInputs((x.flatten(0, 1),), np.full(len(x), x.shape[1], np.int64))
    outputs, _ = stack.step(inputs, stack.initial_state(x.shape[1]))
    (output,) = outputs.values()
    return output.view(*x.shape[:2], -1)


def test_a_state_is_carried_by_its_names_whatever_order_the_module_gives_it_in(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module, zeros = Turned(), torch.zeros(3, 4)
    state: Any = {"first": {"h": zeros, "c": zeros}, "second": (zeros, zeros)}
    pack_step(module, (torch.randn(3, 3),), state, out=tmp_path / "m", name="m", quiet=True)
    x, wanted = torch.randn(6, 3, 3), []
    with torch.no_grad():
        for step in x:
            output, state = module(step, state)
            wanted.append(output)
    given = stepped(load_graph(tmp_path / "m", torch.device("cpu")), x)
    torch.testing.assert_close(given, torch.stack(wanted), rtol=1e-5, atol=1e-5)


class OfOne(OfDict):
    def forward(self, x: torch.Tensor, state: dict[str, torch.Tensor]) -> Any:
        h = self.cell(x, state["h"])
        return 2 * h, {"h": h}


def test_a_state_that_is_a_dict_of_one_is_given_as_that_or_what_is_in_it(tmp_path: Path) -> None:
    for name, module in (("dict", OfOne(renamed=False)), ("tensor", Step(lambda x, h, n: (n, n)))):
        state = {"h": torch.zeros(3, 4)}
        packed = pack_step(module, (torch.randn(3, 3),), state, out=tmp_path / name, name=name, quiet=True)
        assert [one.name for one in packed.spec.states] == ["h"]


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (("memory",), "context: expected of x, got memory"),
        (("h",), "context: expected of x, got h"),
        (("x",), "expected an input besides"),
        ("x", "context: expected a sequence of names"),
    ],
)
def test_a_context_that_is_none_is_refused_by_name(context: Sequence[str], message: str, tmp_path: Path) -> None:
    step = Step(lambda x, h, n: (n, n))
    with pytest.raises(ExportError, match=message):
        pack_step(step, torch.randn(3, 3), torch.zeros(3, 4), context=context, out=tmp_path / "m", name="m", quiet=True)


def test_what_is_no_tensor_beside_the_state_is_told_and_takes_no_state_s_place(tmp_path: Path) -> None:
    step = Step(lambda x, h, n: (2 * n, None, n))
    packed = pack_step(step, torch.randn(3, 3), torch.zeros(3, 4), out=tmp_path / "m", name="m", quiet=True)
    assert packed.left_out == ("output_1 (None)",)
    assert packed.differences.largest <= 1e-5
