"""Weights that more than one network could have are refused with what to do, whatever file they came in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_kinds import Forecast, Output, Perceptron, StackedCells, averaged, both, lightning, refused
from state_dicts import module
from torch import nn

from elman_models import ModelSpec, PackOptions, WeightsError, infer_model, read_state_dict, write_bundle

PACK = r"elman_models\.pack\(module, \.\.\.\)"


def test_cells_that_could_run_beside_each_other_are_refused_with_what_settles_it() -> None:
    network = StackedCells(nn.LSTMCell, (4, 4, 4))
    refused(
        network,
        rf"cells\.0, cells\.1; .*beside each other.*\(--rnn-key cells\), which --golden FILE proves; else .*{PACK}",
    )
    refused(nn.ModuleList([nn.GRUCell(4, 4), nn.GRUCell(4, 4)]), r"\(--rnn-key \.\)")
    assert infer_model(
        nn.ModuleList([nn.GRUCell(4, 4), nn.GRUCell(4, 4)]).state_dict(), PackOptions(name="m", rnn_key=".")
    ).spec == ModelSpec(name="m", cell="gru", input_size=4, hidden_size=4, num_layers=2)


def test_cells_that_do_not_feed_each_other_are_refused() -> None:
    refused(module(cells=nn.ModuleList([nn.GRUCell(4, 8), nn.GRUCell(4, 8)])), rf"cells\.0 gives 8 .*takes 4.*{PACK}")
    refused(module(cells=nn.ModuleList([nn.GRUCell(4, 8), nn.LSTMCell(6, 8)])), "gives 8 .*takes 6", rnn_key="cells")


@pytest.mark.parametrize("order", [dict, lambda state_dict: dict(sorted(state_dict.items()))])
def test_what_stands_between_two_stacks_is_not_taken_for_a_head(order: Callable[[Any], Any]) -> None:
    network = nn.Sequential(nn.GRU(4, 8), Output(), nn.Linear(8, 8), nn.GRU(8, 8), Output())
    refused(order(network.state_dict()), rf"2\.(weight|bias): stands between 0 and 3; .*{PACK}")


def test_cells_of_two_lists_or_of_wrappers_are_refused() -> None:
    cells = [nn.ModuleList([nn.GRUCell(4, 8), nn.GRUCell(8, 8)]) for _ in range(2)]
    refused(module(one=cells[0], two=cells[1]), rf"several recurrent stacks: one\.0, one\.1, two\.0, two\.1; .*{PACK}")
    wrapped = nn.ModuleList([module(cell=nn.GRUCell(4, 8)), module(cell=nn.GRUCell(8, 8))])
    refused(module(layers=wrapped), rf"several recurrent stacks: layers\.0\.cell, layers\.1\.cell; .*{PACK}")


def test_of_two_copies_in_one_state_dict_one_is_to_be_named() -> None:
    refused(both(Forecast()), r"copies of one model, choose one with key \(--key\)")


def test_several_layers_are_refused_until_it_is_said_what_stands_between() -> None:
    network = Perceptron((8, 6, 3), nn.ReLU())
    refused(network, rf"fc1\.weight .*activation \(--activation relu, or none\).*{PACK}")
    refused(network, "activation: expected one of none, relu, .*, got 'swiglu'", activation="swiglu")


@pytest.mark.parametrize(("network", "found"), [(Forecast(), "one, fc"), (nn.GRU(4, 8), "none")])
def test_an_activation_that_has_no_place_is_refused(network: nn.Module, found: str) -> None:
    refused(network, rf"activation: stands between several .*there is {found};.*{PACK}", activation="relu")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"two": nn.Linear(6, 3), "one": nn.Linear(8, 6)}, r"run as one, two, but are defined in another order"),
        ({"one": nn.Linear(8, 6), "pi": nn.Linear(6, 3), "v": nn.Linear(6, 1)}, "beside the recurrent stack stand"),
        ({"fc": nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3))}, "nothing between others"),
        ({"one": nn.Linear(8, 6), "norm": nn.LayerNorm(6), "two": nn.Linear(6, 3)}, r"norm\.weight \[6\]"),
        ({"one": nn.Linear(8, 12), "two": nn.Linear(6, 3)}, "beside the recurrent stack stand"),  # a GLU between
    ],
)
def test_layers_that_do_not_run_in_a_row_are_refused(parts: dict[str, nn.Module], message: str) -> None:
    refused(module(rnn=nn.GRU(4, 8), **parts), rf"(?s){message}.*{PACK}", activation="relu")


def test_a_layer_before_the_stack_is_refused_whatever_stands_between() -> None:
    network = module(inp=nn.Linear(4, 4), rnn=nn.GRU(4, 8), fc1=nn.Linear(8, 6), fc2=nn.Linear(6, 3))
    refused(network, rf"inp\.weight \[4, 4\] is a linear layer before the stack.*{PACK}", activation="relu")


def test_where_names_are_sorted_layers_of_one_size_are_not_put_in_order() -> None:
    network = Perceptron((7, 7, 7), nn.ReLU())
    refused(dict(sorted(network.state_dict().items())), r"in which order .*is open.*\(--head-key\)", activation="relu")


def test_a_counter_of_averages_beside_anything_else_is_not_dropped(tmp_path: Path) -> None:
    torch.save(averaged(Forecast()).state_dict() | {"scale": torch.ones(3)}, tmp_path / "w.pt")
    refused(read_state_dict(tmp_path / "w.pt"), r"n_averaged \[\]")


def test_tensors_that_lightning_s_hooks_put_beside_the_state_dict_are_not_dropped(tmp_path: Path) -> None:
    torch.save(lightning(Forecast()) | {"mean": torch.ones(4)}, tmp_path / "w.ckpt")
    with pytest.raises(WeightsError, match=r"beside the state_dict state_dict stand the tensors mean; .*--key"):
        read_state_dict(tmp_path / "w.ckpt")
    torch.save(lightning(Forecast()) | {"current_model_state": Forecast().state_dict()}, tmp_path / "w.ckpt")
    with pytest.raises(WeightsError, match=r"several state_dicts, state_dict, current_model_state; .*--key"):
        read_state_dict(tmp_path / "w.ckpt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_that_overflowed_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    state_dict = Forecast().to(dtype).state_dict()
    state_dict["fc.weight"][0, 0] = torch.inf
    found = infer_model(state_dict, PackOptions(name="m"))
    with pytest.raises(WeightsError, match=r"head\.weight: .*finite"):
        write_bundle(tmp_path / "m", found.spec, found.weights)
