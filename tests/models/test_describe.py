"""What `check` prints."""

import pytest
from recurrent_cases import CELLS, make_model, make_spec

from elman_models import EmbeddingSpec, assumptions, describe


def test_a_model_is_described_in_a_few_plain_lines() -> None:
    spec = make_spec("lstm_projected", num_layers=2, parts=True, name="char-lm", description="Says hello")
    assert describe(spec).split("\n") == [
        "model:       char-lm, version 1",
        "description: Says hello",
        "stack:       LSTM, 2 layers, one direction, with bias",
        "sizes:       input 4, hidden 5, projected to 3",
        "embedding:   11 ids to vectors of 4",
        "head:        linear, 3 to 6, with bias",
        "parameters:  438, 0.00 MB loaded",
        "input:       [T, B] int64, ids in [0, 11)",
        "output:      [T, B, 6] float32",
        "state:       64 bytes per session: h_n [2, B, 3], c_n [2, B, 5] float32",
        "sessions:    yes",
        "assumed:     the stack is torch.nn.LSTM (or its cell), beginning at zeros; dropout is off",
        "assumed:     no activation, scaling or normalisation between the embedding and the stack",
        "assumed:     no activation, normalisation or residual before the head, which reads each output, not h_n",
        "assumed:     no activation after the head, and no softmax",
    ]


def test_what_weights_cannot_tell_is_said_of_the_parts_that_are_there() -> None:
    assert assumptions(make_spec("rnn_relu")) == [
        "the stack is torch.nn.RNN (or its cell), beginning at zeros; dropout is off",
        "no activation, scaling or normalisation between the input and the stack",
        "no activation after the stack, and no softmax",
    ]


def test_a_tied_head_that_a_file_may_have_lost_is_said_where_sizes_allow_one() -> None:
    lost = "no head tied to the embedding, which a file of weights may leave out"
    table = EmbeddingSpec(num_embeddings=11, embedding_dim=4)
    assert lost in assumptions(make_spec("gru", hidden_size=4, embedding=table))
    assert lost not in assumptions(make_spec("gru", hidden_size=5, embedding=table))


def test_a_bidirectional_model_is_described_as_without_sessions() -> None:
    text = describe(make_spec("gru", bidirectional=True, bias=False), weights_bytes=2_500_000)
    assert "GRU, 1 layer, bidirectional, no bias" in text
    assert "input:       [T, B, 4] float32\noutput:      [T, B, 10] float32" in text
    assert "2.50 MB loaded" in text
    assert "sessions:    no: bidirectional, Infer only" in text


@pytest.mark.parametrize("cell", CELLS)
def test_the_described_size_is_the_loaded_size(cell: str) -> None:
    spec = make_spec(cell, num_layers=2, parts=True)
    assert describe(spec) == describe(spec, make_model(spec)[1].weights_bytes)


def test_a_lower_precision_is_described() -> None:
    assert "precision:   bfloat16 where it is faster" in describe(make_spec("gru", precision="bfloat16"))
    assert "precision" not in describe(make_spec("gru"))
