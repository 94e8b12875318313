"""What `check` prints."""

import pytest
from recurrent_cases import CELLS, make_model, make_spec

from elman_models import describe


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
    ]


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
