"""A state_dict that could be more than one network is refused, with what to do; what can be one alone is taken."""

import pytest
import torch
from recurrent_cases import Reference, make_spec
from state_dicts import GRU, StateDict, by_name, infer, module, zeros
from torch import nn

from elman_models import WeightsError

IN = module(inp=nn.Linear(8, 8), lstm=nn.LSTM(8, 8)).state_dict()
WIDE_IN = module(inp=nn.Linear(16, 8), lstm=nn.LSTM(8, 16)).state_dict()
OUT = module(lstm=nn.LSTM(8, 8), fc=nn.Linear(8, 8)).state_dict()
FORECAST = module(lstm=nn.LSTM(1, 16), fc=nn.Linear(16, 1)).state_dict()


@pytest.mark.parametrize("state_dict", [IN, WIDE_IN])
def test_a_layer_that_is_defined_before_the_stack_is_no_head(state_dict: StateDict) -> None:
    with pytest.raises(WeightsError, match=r"inp\.weight \[8, .*is a linear layer before the stack.*--leave-out inp"):
        infer(state_dict)


@pytest.mark.parametrize("state_dict", [OUT, FORECAST])
def test_a_layer_that_is_defined_after_the_stack_is_the_head(state_dict: StateDict) -> None:
    assert infer(state_dict)[1]["head.weight"] is state_dict["fc.weight"]


@pytest.mark.parametrize("state_dict", [IN, WIDE_IN, OUT, FORECAST])
def test_where_names_are_sorted_and_sizes_leave_it_open_a_layer_is_not_placed(state_dict: StateDict) -> None:
    layer = "inp" if "inp.weight" in state_dict else "fc"
    with pytest.raises(WeightsError, match=rf"could be .*does not keep it.*head_key \(--head-key\), one of {layer}"):
        infer(by_name(state_dict))
    assert infer(by_name(state_dict), head_key=layer)[0].head is not None


def test_an_order_that_scatters_the_stack_is_not_believed() -> None:
    names = ["lstm.weight_ih_l0", "fc.weight", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0", "fc.bias"]
    with pytest.raises(WeightsError, match=r"could be .*does not keep it"):
        infer({name: OUT[name] for name in names})


def test_where_names_are_sorted_sizes_that_leave_nothing_open_are_enough() -> None:
    network = module(z=nn.Embedding(11, 4), lstm=nn.LSTM(4, 5), a=nn.Linear(5, 6))
    spec, _ = infer(by_name(network.state_dict()))
    assert spec.embedding is not None
    assert spec.head is not None


def test_a_layer_whose_outputs_a_glu_may_halve_is_not_placed_by_its_sizes() -> None:
    network = module(inp=nn.Linear(7, 8), lstm=nn.LSTM(4, 7))
    with pytest.raises(WeightsError, match="could be"):
        infer(by_name(network.state_dict()))


def test_a_head_that_is_defined_first_is_taken_when_it_is_said() -> None:
    network = module(head=nn.Linear(5, 6), lstm=nn.LSTM(4, 5))
    with pytest.raises(WeightsError, match=r"If head is the head, say so: head_key \(--head-key head\)"):
        infer(network.state_dict())
    assert infer(network.state_dict(), head_key="head")[0].output_size == 6


def test_an_embedding_and_a_layer_behind_it_are_not_an_embedding_and_a_head() -> None:
    network = module(emb=nn.Embedding(20, 8), lin=nn.Linear(8, 8), lstm=nn.LSTM(8, 8)).state_dict()
    with pytest.raises(WeightsError, match=r"lin\.weight \[8, 8\] is a linear layer before the stack"):
        infer(network)
    with pytest.raises(WeightsError, match="could be"):
        infer(by_name(network))


def test_a_square_table_could_be_a_linear_layer_and_is_taken_when_it_is_said() -> None:
    network = module(emb=nn.Embedding(8, 8), lstm=nn.LSTM(8, 5)).state_dict()
    with pytest.raises(
        WeightsError, match=r"could be a linear layer before the stack or the embedding.*--embedding-key"
    ):
        infer(network)
    assert infer(network, embedding_key="emb")[0].embedding is not None


def test_a_layer_past_the_stack_is_not_mistaken_for_an_embedding() -> None:
    network = module(skip=nn.Linear(4, 6, bias=False), lstm=nn.LSTM(4, 5), head=nn.Linear(5, 6))
    for state_dict in (network.state_dict(), by_name(network.state_dict())):
        with pytest.raises(
            WeightsError, match=r"skip\.weight \[6, 4\] could be the embedding, or a linear layer without"
        ):
            infer(state_dict)


def test_several_layers_after_the_stack_are_refused_by_name() -> None:
    network = module(lstm=nn.LSTM(4, 5), one=nn.Linear(5, 7), two=nn.Linear(7, 3)).state_dict()
    with pytest.raises(WeightsError, match=r"one\.weight \[7, 5\] is one of several .*--leave-out one --leave-out two"):
        infer(network)
    with pytest.raises(WeightsError, match=r"beside the recurrent stack stand"):
        infer(module(lstm=nn.LSTM(4, 5), pi=nn.Linear(5, 7), v=nn.Linear(5, 1)).state_dict())


@pytest.mark.parametrize(
    ("embedding", "head"),
    [("emb", "fc"), ("char_embedding", "out"), ("encoder", "decoder"), ("net.embed", "net.out.0")],
)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("flipped", [False, True])
def test_names_tell_an_embedding_that_is_defined_late_from_a_head(
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


def test_a_choice_that_sizes_order_and_names_leave_open_is_refused_listing_it() -> None:
    with pytest.raises(
        WeightsError, match=r"\(--embedding-key\), one of a, b, or head_key \(--head-key\), one of a, b$"
    ):
        infer(SQUARE)
    del (one := dict(SQUARE))["b.weight"]
    with pytest.raises(WeightsError, match=r"could be the head or the embedding.*one of a, or head_key .*one of a$"):
        infer(one)


@pytest.mark.parametrize("options", [{"embedding_key": "b"}, {"head_key": "a"}, {"head_key": "a.weight"}])
def test_a_key_settles_an_open_choice(options: dict[str, str]) -> None:
    spec, _ = infer(SQUARE, **({"embedding_key": "b"} | options))
    assert spec.embedding is not None
    assert spec.head is not None
    assert (spec.embedding.num_embeddings, spec.head.out_features) == (8, 9)


def test_one_key_for_both_parts_is_a_head_tied_to_the_embedding() -> None:
    network = module(emb=nn.Embedding(9, 5), rnn=nn.GRU(5, 5)).state_dict()
    spec, weights = infer(network, embedding_key="emb", head_key="emb")
    assert spec.output_size == 9
    assert weights["head.weight"] is weights["embedding.weight"]
    with pytest.raises(WeightsError, match=r"both are a, but there are b\.weight, too"):
        infer(SQUARE, embedding_key="a", head_key="a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_key": "c"}, r"embedding_key: expected \[any, 5\] without a bias, got c\.weight \[8, 6\]"),
        ({"head_key": "c"}, r"head_key: expected \[any, 5\], got c\.weight \[8, 6\]"),
        ({"head_key": "d"}, r"head_key: d\.bias: expected \[8\], got \[7\]"),
        ({"leave_out": ["e"]}, r"leave_out: nothing is called 'e'; there are rnn, a, b, c, d$"),
    ],
)
def test_an_option_whose_tensors_do_not_fit_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        infer(SQUARE | zeros(c__weight=(8, 6), d__weight=(8, 5), d__bias=(7,)), **options)


def test_tensors_that_are_no_part_of_the_model_are_listed_and_left_out_by_name_alone() -> None:
    network = GRU | zeros(norm__weight=(5,), norm__bias=(5,), fc__weight=(3, 5))
    for keys in ({}, {"rnn_key": "rnn", "embedding_key": "none", "head_key": "fc"}):
        with pytest.raises(WeightsError, match=r"norm\.weight \[5\], norm\.bias \[5\]: no embed.*\(--leave-out norm\)"):
            infer(network, **keys)
    assert infer(network, leave_out=["norm"])[0].output_size == 3


def test_a_layer_before_the_stack_is_not_mistaken_for_an_embedding() -> None:
    for before in (zeros(fc_in__weight=(4, 4)), zeros(embed__weight=(4, 4), embed__bias=(4,))):
        with pytest.raises(WeightsError, match="linear layer before the stack"):
            infer(before | GRU)


def test_other_stacks_are_left_out_by_name_alone() -> None:
    network = module(c1=nn.LSTMCell(4, 8), c2=nn.LSTMCell(8, 8), head=nn.Linear(8, 3)).state_dict()
    with pytest.raises(WeightsError, match=r"several recurrent stacks: c1, c2; .*\(--leave-out\)"):
        infer(network)
    with pytest.raises(WeightsError, match=r"name the others in leave_out \(--leave-out c2\)"):
        infer(network, rnn_key="c1")
    assert infer(network, leave_out=["c1"])[0].input_size == 8


def test_one_model_of_several_is_packed_by_leaving_out_the_others() -> None:
    encoder, decoder = make_spec(parts=True), make_spec("gru", parts=True, hidden_size=7)
    both = {f"enc.{n}": t for n, t in Reference(encoder).state_dict().items()}
    both |= {f"dec.{n}": t for n, t in Reference(decoder).state_dict().items()}
    spec, weights = infer(both, leave_out=["enc"])
    assert spec == decoder
    assert all(tensor is both[f"dec.{name}"] for name, tensor in weights.items())
    bare, _ = infer(both, rnn_key="enc.rnn", leave_out=["dec.", "enc.embedding", "enc.head.weight", "enc.head.bias"])
    assert bare == encoder.model_copy(update={"embedding": None, "head": None})
