"""Files of Keras as bundles, held against what Keras itself gave for an input (tests/models/fixtures/keras/make.py)."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from keras_files import Config, altered

from elman_models import GraphStack, PackedInputs, batch_sizes, load_graph, pack_keras
from elman_models.graph.spec import Kind
from elman_models.graph.state import GraphState

FIXTURES = Path(__file__).parent / "fixtures" / "keras"
STREAMING = (
    "lstm_stack",
    "gru_last",
    "simple_rnns",
    "front",
    "tagger",
    "nested",
    "stateful",
    "masked",
    "reset_before",
)
WHOLE = ("both_ways", "pooled", "reset_before_both_ways")
LEGACY = ("both_ways", "front", "tagger", "reset_before")
FILES = [f"{name}.keras" for name in (*STREAMING, *WHOLE)] + [f"{name}.h5" for name in LEGACY]


def packed(file: str, folder: Path) -> GraphStack:
    path = FIXTURES / file
    if path.suffix == ".h5":
        path = folder / file
        path.write_bytes(gzip.decompress((FIXTURES / f"{file}.gz").read_bytes()))
    pack_keras(path, out=folder / "m", name="m", quiet=True)
    return load_graph(folder / "m", torch.device("cpu"))


def golden(file: str) -> dict[str, torch.Tensor]:
    with np.load(FIXTURES / f"{Path(file).stem}.npz") as given:
        return {name: torch.from_numpy(given[name]) for name in given.files}


def stepped(stack: GraphStack, rows: torch.Tensor, lengths: list[int]) -> dict[str, torch.Tensor]:
    """What the stack gives for rows [B, T, ...] in chunks of those lengths: [B, T, ...], or [B, ...] of a row."""
    state, parts, begin = stack.initial_state(len(rows)), [], 0
    for length in lengths:
        chunk = rows[:, begin : begin + length].transpose(0, 1).flatten(0, 1)
        outputs, state = stack.step(PackedInputs((chunk,), np.full(length, len(rows))), state)
        state = GraphState(stack.layout, state.tensors)
        parts.append(outputs)
        begin += length
    return {name: _joined(stack, name, [part[name] for part in parts], len(rows)) for name in parts[0]}


def _joined(stack: GraphStack, name: str, parts: list[torch.Tensor], rows: int) -> torch.Tensor:
    (output,) = [one for one in stack.spec.outputs if one.name == name]
    if stack.spec.inferred().values[output.value].per == "row":
        return parts[-1]
    whole = torch.cat([part.view(-1, rows, *part.shape[1:]) for part in parts]).transpose(0, 1)
    return whole[:, -1] if output.last_only else whole


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("masked")])
def test_a_file_gives_what_keras_gave_whole_and_in_chunks(file: str, tmp_path: Path) -> None:
    stack, expected = packed(file, tmp_path), golden(file)
    rows = expected.pop("input")
    is_whole = Path(file).stem in WHOLE
    assert (stack.spec.kind is Kind.WHOLE) == is_whole
    for lengths in [[rows.shape[1]]] + [[2, 1, 3]] * (not is_whole):
        given = stepped(stack, rows, lengths)
        assert given.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(given[name], tensor, rtol=1e-5, atol=1e-5)


def test_rows_that_keras_pads_and_masks_are_run_to_their_own_lengths(tmp_path: Path) -> None:
    stack, expected = packed("masked.keras", tmp_path), golden("masked")
    lengths = (expected["input"] != 0).sum(1).numpy()
    assert sorted(lengths.tolist(), reverse=True) == lengths.tolist() != [6, 6, 6]
    sizes = batch_sizes(lengths)
    ids = torch.cat([expected["input"][:size, step] for step, size in enumerate(sizes)])
    outputs, _ = stack.step(PackedInputs((ids,), sizes), stack.initial_state(3), last_only=True)
    torch.testing.assert_close(outputs["output"], expected["output"], rtol=1e-5, atol=1e-5)


def as_keras_2(config: dict[str, Any]) -> None:
    """Calls as lists of [layer, call, index, keywords], inputs by `batch_input_shape`, no modules."""
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_input_shape"] = layer["config"].pop("batch_shape")
        calls = []
        for call in layer["inbound_nodes"]:
            (given,) = call["args"]
            tensors = given if isinstance(given, list) else [given]
            calls.append([[*tensor["config"]["keras_history"], {}] for tensor in tensors])
        layer["inbound_nodes"] = calls


def test_a_file_of_keras_2_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "tagger.h5"
    path.write_bytes(gzip.decompress((FIXTURES / "tagger.h5.gz").read_bytes()))
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        as_keras_2(config)
        file.attrs["model_config"] = np.bytes_(json.dumps(config).encode())
        group = file["model_weights/lstm"]
        for name in group.attrs["weight_names"]:
            group.move(name, f"{name}:0")
        group.attrs["weight_names"] = [f"{name}:0".encode() for name in group.attrs["weight_names"]]
    pack_keras(path, out=tmp_path / "m", name="m", quiet=True)
    expected = golden("tagger")
    given = stepped(load_graph(tmp_path / "m", torch.device("cpu")), expected.pop("input"), [6])
    for name, tensor in expected.items():
        torch.testing.assert_close(given[name], tensor, rtol=1e-5, atol=1e-5)


def test_what_is_taken_for_granted_and_what_was_compared_is_said(tmp_path: Path) -> None:
    made = str(pack_keras(FIXTURES / "masked.keras", out=tmp_path / "a", name="m", quiet=True))
    assert "assumed  layer embedding (Embedding): mask_zero: id 0 is padding after the last step" in made
    assert "Keras itself was not run" in made
    assert "# layer gru (GRU)" in made
    made = str(pack_keras(FIXTURES / "stateful.keras", out=tmp_path / "b", name="m", quiet=True))
    assert "assumed  layer lstm (LSTM): stateful: its state is a session's, which begins at zeros" in made


def test_a_gru_that_does_not_say_where_its_reset_gate_stands_is_of_before_it_could_be_after(tmp_path: Path) -> None:
    def older(config: Config) -> None:
        for one in config["config"]["layers"]:
            one["config"].pop("reset_after", None)

    path = altered("reset_before", tmp_path, config=older)
    made = str(pack_keras(path, out=tmp_path / "m", name="m", quiet=True))
    assert "assumed  layer gru (GRU): reset_after: is not said, so it is False, as before Keras had it" in made
    expected = golden("reset_before")
    given = stepped(load_graph(tmp_path / "m", torch.device("cpu")), expected.pop("input"), [6])
    for name, tensor in expected.items():
        torch.testing.assert_close(given[name], tensor, rtol=1e-5, atol=1e-5)


def test_nodes_bear_the_names_of_layers_and_ids_have_their_bound(tmp_path: Path) -> None:
    spec = packed("tagger.keras", tmp_path).spec
    assert {"embedding", "lstm", "dense", "dense_1"} <= {node.name for node in spec.nodes}
    assert [(one.dtype, one.num_embeddings) for one in spec.inputs] == [("int64", 9)]
    assert [one.name for one in spec.outputs] == ["tags", "last"]


def test_keras_is_never_imported(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "lstm_stack.keras", tmp_path / "given.keras")
    script = (
        "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None\n"
        f"from elman_models import pack_keras; pack_keras({str(tmp_path / 'given.keras')!r}, "
        f"out={str(tmp_path / 'm')!r}, name='m', quiet=True)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert (tmp_path / "m" / "model.yaml").exists()
