"""A spec is read strictly: each mistake is refused with the field's name."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from recurrent_cases import CELLS, Reference, make_spec

from elman_models import Cell, ModelSpec, SpecError
from elman_models.spec_file import dump_spec, parse_spec

GOOD: dict[str, Any] = {"name": "m", "cell": "lstm", "input_size": 4, "hidden_size": 5}


def parse(fields: object) -> ModelSpec:
    return parse_spec(yaml.safe_dump(fields).encode(), "model.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hiden_size": 5}, "model.yaml: hiden_size: unknown key; known are name, version"),
        ({"hidden_size": 0}, "model.yaml: hidden_size: input should be greater than or equal to 1, got 0"),
        ({"hidden_size": 1 << 21}, "model.yaml: hidden_size: input should be less than or equal to 1048576"),
        ({"hidden_size": "5"}, "model.yaml: hidden_size: input should be a valid integer, got '5'"),
        ({"hidden_size": 5.0}, "model.yaml: hidden_size: input should be a valid integer, got 5.0"),
        ({"hidden_size": True}, "model.yaml: hidden_size: input should be a valid integer, got True"),
        ({"hidden_size": None}, "model.yaml: hidden_size: input should be a valid integer, got None"),
        ({"input_size": -1}, "model.yaml: input_size: "),
        ({"num_layers": 257}, "model.yaml: num_layers: "),
        ({"bias": "yes"}, "model.yaml: bias: input should be a valid boolean, got 'yes'"),
        ({"bidirectional": 1}, "model.yaml: bidirectional: "),
        ({"cell": "mamba"}, "model.yaml: cell: input should be 'rnn_tanh', 'rnn_relu', 'lstm' or 'gru', got 'mamba'"),
        ({"name": "a/b"}, "model.yaml: name: "),
        ({"name": "../up"}, "model.yaml: name: "),
        ({"name": ""}, "model.yaml: name: "),
        ({"version": 1}, "model.yaml: version: input should be a valid string, got 1; a number is text only in quotes"),
        ({"proj_size": 5}, "model.yaml: proj_size: must be smaller than hidden_size 5, got 5"),
        ({"proj_size": 2, "cell": "gru"}, "model.yaml: proj_size: only lstm has a projection, cell is gru"),
        ({"embedding": {"num_embeddings": 9, "embedding_dim": 3}}, "model.yaml: embedding.embedding_dim: must equal"),
        ({"embedding": {"num_embeddings": 9}}, "model.yaml: embedding.embedding_dim: is missing"),
        ({"embedding": 9}, "model.yaml: embedding: "),
        ({"head": {"out_features": 0}}, "model.yaml: head.out_features: "),
        ({"metadata": {"a": 1}}, "model.yaml: metadata.a: input should be a valid string, got 1"),
        ({"description": "x" * 1001}, "model.yaml: description: "),
    ],
)
def test_a_wrong_field_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refusal:
        parse(GOOD | changes)
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_refused_by_name(field: str) -> None:
    with pytest.raises(SpecError, match=rf"^model.yaml: {field}: is missing$"):
        parse({key: value for key, value in GOOD.items() if key != field})


def test_several_wrong_fields_are_each_told_on_a_line() -> None:
    with pytest.raises(SpecError) as refusal:
        parse({"name": "m", "cell": "lstm", "input_size": 0})
    assert [line.split(": ")[1] for line in str(refusal.value).split("\n")] == ["input_size", "hidden_size"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected a mapping of fields, got nothing"),
        (b"- 1\n- 2\n", "expected a mapping of fields, got list"),
        (b"name: [", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        (b"name: a\nname: b\n", "name: stands twice"),
        (b"name: a\nhead:\n  out_features: 1\n  out_features: 2\n", "out_features: stands twice"),
        (b"name: !!python/object/apply:os.system [id]\n", "cannot be read as YAML"),
        (b"name: !!bool x\n", "cannot be read as YAML"),
        (b"name: !!timestamp x\n", "cannot be read as YAML"),
        (b"name: 2001-99-99\n", "cannot be read as YAML"),
        (b"name: " + b"[" * 20000, "cannot be read as YAML"),
        (b"? [a, b]\n: c\n", "model.yaml: "),
        (b"1: 2\n", "model.yaml: "),
        (b"#" * (1 << 20) + b"#", "expected at most 1048576 bytes"),
    ],
)
def test_text_that_is_no_spec_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(SpecError) as refusal:
        parse_spec(text, "model.yaml")
    assert message in str(refusal.value)


@given(text=st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"\n #?%@0", max_size=60).map(str.encode))
def test_no_text_makes_anything_but_a_spec_or_a_spec_error(text: bytes) -> None:
    with pytest.raises(SpecError):
        parse_spec(text, "model.yaml")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_parameter_names_and_shapes_are_those_of_torchs_modules(cell: str, bidirectional: bool) -> None:
    spec = make_spec(cell, num_layers=3, bidirectional=bidirectional, parts=True)
    theirs = {name: tuple(tensor.shape) for name, tensor in Reference(spec).state_dict().items()}
    assert spec.parameter_shapes() == theirs


@given(
    spec=st.builds(
        ModelSpec,
        name=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z"),
        version=st.from_regex(r"\A[0-9][0-9._-]{0,5}\Z"),
        description=st.text(max_size=50),
        cell=st.sampled_from(Cell),
        input_size=st.integers(1, 1 << 20),
        hidden_size=st.integers(1, 1 << 20),
        num_layers=st.integers(1, 256),
        metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    )
)
def test_a_written_spec_reads_back_the_same(spec: ModelSpec) -> None:
    assert parse_spec(dump_spec(spec), "model.yaml") == spec


def test_a_bidirectional_model_keeps_no_sessions() -> None:
    assert make_spec().keeps_sessions
    assert not make_spec(bidirectional=True).keeps_sessions
