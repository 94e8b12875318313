"""Files of ONNX as bundles, held against onnxruntime: as torch's exporters write them, and recurrences by hand."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx_files import GATES, graph, node, save, weights

from elman_models import GoldenError, GraphStack, PackedInputs, PackedModule, load_graph, pack_onnx

FIXTURES = Path(__file__).parent / "fixtures" / "onnx"
STREAMING = ("lstm", "gru", "states", "language", "last", "causal", "cut", "mixed")
WHOLE = ("both_ways", "pooled")
FILES = [f"{name}.{age}" for name in (*STREAMING, *WHOLE) for age in ("old", "new")]


def packed(path: Path, folder: Path) -> PackedModule:
    return pack_onnx(path, out=folder / "m", name="m", quiet=True)


def loaded(folder: Path) -> GraphStack:
    return load_graph(folder / "m", torch.device("cpu"))


@pytest.mark.parametrize("file", FILES)
def test_what_an_exporter_writes_gives_what_onnxruntime_gives_whole_in_chunks_and_beside_others(
    file: str, tmp_path: Path
) -> None:
    made = packed(FIXTURES / f"{file}.onnx", tmp_path)
    assert made.differences.largest <= 1e-5
    assert (made.spec.kind == "whole") == (file.partition(".")[0] in WHOLE)
    assert (made.differences.chunks is None) == (made.spec.kind == "whole")
    assert loaded(tmp_path).spec == made.spec


@pytest.mark.parametrize("file", ["lstm.old", "gru.new"])
def test_the_bundle_read_back_gives_what_onnxruntime_gives_for_the_file(file: str, tmp_path: Path) -> None:
    packed(FIXTURES / f"{file}.onnx", tmp_path)
    session = onnxruntime.InferenceSession(str(FIXTURES / f"{file}.onnx"), providers=["CPUExecutionProvider"])
    rows = torch.randn(2, 9, 4)
    (expected,) = session.run(None, {"x": rows.numpy()})
    stack = loaded(tmp_path)
    inputs = PackedInputs((rows.transpose(0, 1).flatten(0, 1),), np.full(9, 2))
    outputs, _ = stack.step(inputs, stack.initial_state(2))
    given = outputs["y"].view(9, 2, -1).transpose(0, 1)
    torch.testing.assert_close(given, torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("age", ["old", "new"])
def test_initial_states_that_are_inputs_are_the_sessions_layer_by_layer(age: str, tmp_path: Path) -> None:
    made = packed(FIXTURES / f"states.{age}.onnx", tmp_path)
    assert [one.name for one in made.spec.inputs] == ["x"]
    assert [one.name for one in made.spec.outputs] == ["y"]
    assert [state.shape for state in made.spec.states] == [(1, 5)] * 4
    assert set(made.assembled.state_inputs) == {"h0.0", "h0.1", "c0.0", "c0.1"}
    assert str(made).count("is a session's state, no output") == 4


def test_a_golden_file_is_met_too_from_states_of_zeros(tmp_path: Path) -> None:
    path = FIXTURES / "states.old.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x, zeros = np.random.default_rng(3).standard_normal((2, 9, 4)).astype(np.float32), np.zeros((2, 2, 5), np.float32)
    (y,) = session.run(["y"], {"x": x, "h0": zeros, "c0": zeros})
    np.savez(tmp_path / "golden.npz", x=x, y=y)
    made = pack_onnx(path, out=tmp_path / "m", name="m", golden=tmp_path / "golden.npz", quiet=True)
    assert "golden   agrees: largest difference " in str(made)
    np.savez(tmp_path / "golden.npz", x=x, y=y[:1])
    with pytest.raises(GoldenError, match="not of one batch"):
        pack_onnx(path, out=tmp_path / "n", name="m", golden=tmp_path / "golden.npz", quiet=True)
    assert not (tmp_path / "n").exists()


def test_what_was_made_of_it_is_told_node_by_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = pack_onnx(FIXTURES / "lstm.old.onnx", out=tmp_path / "m", name="m", version="7", precision="bfloat16")
    said = capsys.readouterr().out
    assert said == f"{made}\n"
    assert "m, version 7: streaming" in said
    assert "# node /rnn/LSTM (LSTM)" in said
    assert "proved   against onnxruntime: largest difference " in said
    assert made.spec.precision == "bfloat16"
    assert "add" not in [one.op for one in made.spec.nodes]  # the product has its bias


RECURRENCES = {
    "an lstm": ("LSTM", "x W R B", {}),
    "an lstm without bias": ("LSTM", "x W R", {}),
    "a gru": ("GRU", "x W R B", {"linear_before_reset": 1}),
    "a gru that resets before the product": ("GRU", "x W R B", {}),
    "such a gru without bias": ("GRU", "x W R", {}),
    "an rnn": ("RNN", "x W R B", {}),
    "an rnn of relu": ("RNN", "x W R B", {"activations": ["Relu"]}),
}


@pytest.mark.parametrize("case", RECURRENCES)
def test_a_recurrence_runs_forward_as_a_stream(case: str, tmp_path: Path) -> None:
    op, inputs, attributes = RECURRENCES[case]
    nodes = [node(op, inputs, "all", hidden_size=5, **attributes), node("Squeeze", "all one", "y")]
    path = save(graph(nodes, ["y"], constants={**weights(op), "one": [1]}), tmp_path)
    made = packed(path, tmp_path)
    assert (made.spec.kind, made.differences.largest <= 1e-5) == ("streaming", True)


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "more"), [*((op, {}) for op in GATES), ("GRU", {"linear_before_reset": 1})])
def test_a_recurrence_runs_from_the_end_or_both_ways_on_whole_sequences(
    op: str, more: dict[str, int], direction: str, tmp_path: Path
) -> None:
    directions = 2 if direction == "bidirectional" else 1
    nodes = [
        node(op, "x W R B", "all h", hidden_size=5, direction=direction, **more),
        node("Transpose", "all", "apart", perm=[0, 2, 1, 3]),
        node("Reshape", "apart shape", "y"),
    ]
    constants = {**weights(op, directions), "shape": [0, 0, -1]}
    made = packed(save(graph(nodes, ["y", "h"], constants=constants), tmp_path), tmp_path)
    assert (made.spec.kind, made.differences.largest <= 1e-5) == ("whole", True)
    assert made.differences.where in ("y", "h")


def test_rnns_of_two_directions_with_relu_are_read(tmp_path: Path) -> None:
    nodes = [
        node("RNN", "x W R B", "all", hidden_size=5, direction="bidirectional", activations=["Relu", "Relu"]),
        node("ReduceSum", "all one", "y", keepdims=0),
    ]
    made = packed(save(graph(nodes, ["y"], constants={**weights("RNN", 2), "one": [1]}), tmp_path), tmp_path)
    assert (made.spec.kind, made.differences.largest <= 1e-5) == ("whole", True)


@pytest.mark.parametrize("linear_before_reset", [0, 1])
def test_a_recurrence_begins_with_what_the_file_says(linear_before_reset: int, tmp_path: Path) -> None:
    begin = np.random.default_rng(2).standard_normal((1, 1, 5)).astype(np.float32)
    nodes = [
        node("Shape", "x", "sizes"),
        node("Gather", "sizes one", "batch"),
        node("Concat", "one batch five", "wide", axis=0),
        node("Expand", "begin wide", "h"),
        node("GRU", "x W R B - h", "all", hidden_size=5, linear_before_reset=linear_before_reset),
        node("Squeeze", "all one", "y"),
    ]
    constants = {**weights("GRU"), "one": [1], "five": [5], "begin": begin}
    made = packed(save(graph(nodes, ["y"], constants=constants), tmp_path), tmp_path)
    assert made.differences.largest <= 1e-5
    state = loaded(tmp_path).initial_state(3)
    assert torch.equal(state["the_gru.h"], torch.from_numpy(begin).expand(1, 3, 5))


def test_the_state_of_a_gru_that_resets_before_the_product_is_the_sessions(tmp_path: Path) -> None:
    nodes = [node("GRU", "x W R B - h0", "all h_n", hidden_size=5), node("Squeeze", "all one", "y")]
    given = {"x": ("T", "B", 4), "h0": (1, "B", 5)}
    path = save(graph(nodes, ["y", "h_n"], inputs=given, constants={**weights("GRU"), "one": [1]}), tmp_path)
    made = packed(path, tmp_path)
    assert (made.spec.kind, made.differences.largest <= 1e-5) == ("streaming", True)
    assert made.assembled.state_inputs == {"h0": "the_gru.h"}
    assert [one.op for one in made.spec.nodes] == ["gru_reset_before"]


def test_one_state_that_is_an_input_is_the_sessions_and_the_other_begins_at_zeros(tmp_path: Path) -> None:
    nodes = [node("LSTM", "x W R B - h0", "all h_n c_n", hidden_size=5), node("Squeeze", "all one", "y")]
    model = graph(
        nodes,
        ["y", "h_n", "c_n"],
        inputs={"x": ("T", "B", 4), "h0": (1, "B", 5)},
        constants={**weights("LSTM"), "one": [1]},
    )
    made = packed(save(model, tmp_path), tmp_path)
    assert made.spec.kind == "streaming"
    assert made.assembled.state_inputs == {"h0": "the_lstm.h"}


@pytest.mark.parametrize("shape", [(7, 1, 4), ("T", 1, 4), (7, "B", 4), (None, None, 4), ("len", "batch_size", 4)])
def test_sizes_that_the_file_fixes_or_leaves_without_a_name_are_open_in_the_bundle(
    shape: tuple[int | str, ...], tmp_path: Path
) -> None:
    nodes = [node("RNN", "x W R B", "all", hidden_size=5), node("Squeeze", "all one", "y")]
    model = graph(nodes, ["y"], inputs={"x": shape}, constants={**weights("RNN"), "one": [1]})
    assert packed(save(model, tmp_path), tmp_path).differences.largest <= 1e-5


def test_a_batch_that_the_file_takes_for_one_is_one_row_at_a_time(tmp_path: Path) -> None:
    nodes = [
        node("RNN", "x W R B", "all", hidden_size=5),
        node("Reshape", "all shape", "flat"),  # [T, 1, 1, 5] to [T, 5]
        node("MatMul", "flat M", "y"),
    ]
    constants = {**weights("RNN"), "shape": [-1, 5], "M": np.ones((5, 2), np.float32)}
    model = graph(nodes, ["y"], inputs={"x": ("T", 1, 4)}, constants=constants)
    assert packed(save(model, tmp_path), tmp_path).spec.kind == "streaming"


def test_tensors_beside_the_file_are_read(tmp_path: Path) -> None:
    import onnx

    nodes = [node("RNN", "x W R B", "all", hidden_size=5), node("Squeeze", "all one", "y")]
    model = graph(nodes, ["y"], constants={**weights("RNN"), "one": [1]})
    onnx.save(model, tmp_path / "made.onnx", save_as_external_data=True, location="made.bin", size_threshold=0)
    assert (tmp_path / "made.bin").stat().st_size > 0
    assert packed(tmp_path / "made.onnx", tmp_path).differences.largest <= 1e-5


def test_numbers_of_a_session_are_its_context_though_the_file_leaves_open_how_many(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMean", "past", "mean", axes=[1], keepdims=1),  # [B, 1]
        node("Mul", "x mean", "scaled"),
        node("RNN", "scaled W R B", "all", hidden_size=5),
        node("Squeeze", "all one", "y"),
    ]
    inputs = {"x": ("T", "B", 4), "past": ("B", "k")}
    model = graph(nodes, ["y"], inputs=inputs, constants={**weights("RNN"), "one": [1]}, opset=13)
    assert [one.name for one in packed(save(model, tmp_path), tmp_path).spec.context] == ["past"]
