"""Files of ONNX that are damaged, made to harm, or that no bundle can be: refused by name, nothing written."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import FLOAT, graph, node, save, weights

from elman_models import ExportError, pack_onnx

FIXTURES = Path(__file__).parent / "fixtures" / "onnx"
Change = Callable[[onnx.ModelProto], object]


def refused(path: Path, *said: str) -> None:
    out = path.parent / "m"
    with pytest.raises(ExportError) as caught:
        pack_onnx(path, out=out, name="m", quiet=True)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).count(path.name) == 1
    for words in said:
        assert words in str(caught.value)
    assert not out.exists()


def recurrent(op: str = "LSTM", inputs: str = "x W R B", **attributes: Any) -> onnx.ModelProto:
    nodes = [node(op, inputs, "all", hidden_size=5, **attributes), node("Squeeze", "all one", "y")]
    return graph(nodes, ["y"], constants={**weights(op), "one": [1]})


def batch_first() -> onnx.ModelProto:
    model = recurrent(layout=1)
    (axes,) = [one for one in model.graph.initializer if one.name == "one"]
    axes.CopyFrom(onnx.numpy_helper.from_array(np.array([2]), "one"))
    return model


def _branch(op: str) -> onnx.NodeProto:
    inner = helper.make_graph([], "inner", [], [])
    bodies = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}[op]
    return node(op, "x", "y", **dict.fromkeys(bodies, inner))


RECURRENCES: dict[str, tuple[onnx.ModelProto, str]] = {
    "other activations": (
        recurrent(activations=["HardSigmoid", "Tanh", "Tanh"]),
        "node the_lstm (LSTM): activations HardSigmoid, Tanh, Tanh",
    ),
    "another activation of an rnn": (recurrent("RNN", activations=["Sigmoid"]), "expected Tanh or Relu"),
    "a clip": (recurrent(clip=1.0), "clip or input_forget"),
    "a coupled forget gate": (recurrent(input_forget=1), "clip or input_forget"),
    "lengths": (recurrent(inputs="x W R B one"), "sequence_lens: a bundle runs each row to its own length"),
    "weights that are computed": (recurrent(inputs="x x R B"), "weights (input 1): expected floats of 3 axes"),
    "another hidden size": (recurrent(inputs="x W W B"), "node the_lstm (LSTM): weights: expected"),
    "a direction that there is not": (recurrent(direction="sideways"), "direction sideways"),
    "the batch first, which onnxruntime has not": (batch_first(), "onnxruntime cannot run the file"),
}


@pytest.mark.parametrize("case", RECURRENCES)
def test_a_recurrence_that_torch_has_not_is_refused_by_the_nodes_name(case: str, tmp_path: Path) -> None:
    model, said = RECURRENCES[case]
    refused(save(model, tmp_path), said)


def test_peepholes_are_refused(tmp_path: Path) -> None:
    model = recurrent(inputs="x W R B - - - P")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 15), np.float32), "P"))
    refused(save(model, tmp_path), "node the_lstm (LSTM): peepholes")


NODES: dict[str, tuple[onnx.NodeProto, str]] = {
    "an unknown operator": (node("Einsum", "x", "y", equation="abc->abc"), "node the_einsum (Einsum): an operator"),
    "an operator that there is not": (node("Nonsense", "x", "y"), "node the_nonsense (Nonsense): an operator that"),
    "somebody's operator": (
        helper.make_node("Gelu", ["x"], ["y"], name="own", domain="com.microsoft"),
        "node own (Gelu): an operator of com.microsoft",
    ),
    "a branch": (_branch("If"), "node the_if (If): control flow"),
    "a loop": (_branch("Loop"), "node the_loop (Loop): control flow"),
    "a scan": (_branch("Scan"), "node the_scan (Scan): control flow"),
    "random numbers": (node("RandomNormalLike", "x", "y"), "node the_randomnormallike (RandomNormalLike)"),
    "an input that nothing makes": (node("Relu", "z", "y"), "node the_relu (Relu): its input z is made by nothing"),
    "an output that is there": (node("Relu", "x", "x"), "node the_relu (Relu): its output x is there already"),
    "no output": (node("Relu", "x", ""), "node the_relu (Relu): has no output"),
    "rows that see each other": (node("Softmax", "x", "y", axis=1), "softmax along the axis of batch"),
    "dropout that is on": (node("Dropout", "x - yes", "y"), "node the_dropout (Dropout): dropout that is on"),
    "batch norm in training": (
        node("BatchNormalization", "x row row row row", "y", training_mode=1),
        "node the_batchnormalization (BatchNormalization): batch norm by the batch's own mean",
    ),
    "an axis that there is not": (node("Softmax", "x", "y", axis=7), "node the_softmax (Softmax): axis: expected"),
    "shapes that do not go together": (node("Add", "x long", "y"), "node the_add (Add): "),
    "a dtype that is not known": (node("Cast", "x", "y", to=8), "node the_cast (Cast): to ONNX's type 8"),
    "a shape of numbers that are computed": (node("Reshape", "x x", "y"), "node the_reshape (Reshape): input 1 (x)"),
    "a value too large": (node("Expand", "x wide", "y"), "node the_expand (Expand): a value of 17592186044416 numbers"),
    "a product too large": (node("Mul", "tall wider", "y"), "node the_mul (Mul): a value of 67108864 numbers"),
    "a pad too large": (node("Pad", "x pads", "y"), "node the_pad (Pad): a value of"),
    "one size repeated": (node("Tile", "x wide", "y"), "node the_tile (Tile): a value of"),
    "a constant too large": (node("ConstantOfShape", "wide", "y"), "node the_constantofshape (ConstantOfShape): a"),
}  # fmt: skip
CONSTANTS: dict[str, Any] = {
    "row": np.ones(3, np.float32), "yes": np.array(True), "long": np.ones(7, np.float32),
    "wide": [1 << 20, 1 << 20, 16], "pads": [0, 0, 1 << 40, 0, 0, 0],
    "tall": np.ones((8192, 1), np.float32), "wider": np.ones((1, 8192), np.float32),
}  # fmt: skip


@pytest.mark.parametrize("case", NODES)
def test_a_node_that_no_bundle_has_is_refused_by_its_name_and_operator(case: str, tmp_path: Path) -> None:
    one, said = NODES[case]
    nodes = [one] if "y" in one.output or not one.output else [one, node("Relu", "x", "y", name="other")]
    if case == "a constant too large":
        nodes = [node("ConstantOfShape", "wide", "large"), node("Add", "x large", "y")]
    if case == "a product too large":
        nodes = [node("Mul", "tall wider", "large"), node("Add", "x large", "y")]
    model = graph(nodes, ["y"], inputs={"x": ("batch", 3, 4)} if "batch norm" in case else {"x": ("T", "B", 4)},
                  constants=CONSTANTS)  # fmt: skip
    refused(save(model, tmp_path), said)


def _weight(**fields: Any) -> Change:
    def change(model: onnx.ModelProto) -> None:
        (tensor,) = [one for one in model.graph.initializer if one.name == "W"]
        for name, value in fields.items():
            if name == "dims":
                tensor.dims[:] = value
            else:
                setattr(tensor, name, value)

    return change


def _external(location: str, offset: str = "0", length: str = "320") -> Change:
    def change(model: onnx.ModelProto) -> None:
        (tensor,) = [one for one in model.graph.initializer if one.name == "W"]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": offset, "length": length}.items():
            tensor.external_data.add(key=key, value=value)

    return change


FILES: dict[str, tuple[Change, str]] = {
    "sizes that overflow": (_weight(dims=[1 << 62, 1 << 62, 4]), "tensor W: expected sizes up to 1048576"),
    "a negative size": (_weight(dims=[-1, 20, 4]), "tensor W: expected sizes up to 1048576, got -1"),
    "too few numbers": (_weight(raw_data=b"\0" * 64), "tensor W: expected 80 numbers of [1, 20, 4], got 16"),
    "half a number": (_weight(raw_data=b"\0" * 319), "tensor W: expected 80 numbers of [1, 20, 4], got -1"),
    "text for numbers": (_weight(data_type=TensorProto.STRING), "tensor W: expected floats, ints or bools"),
    "data in a folder above": (_external("../secret.bin"), "tensor W: its data is in '../secret.bin'; expected a file"),
    "data at the root": (_external("/etc/passwd"), "tensor W: its data is in '/etc/passwd'; expected a file in the"),
    "data on another drive": (_external("C:secret.bin"), "its data is in 'C:secret.bin'; expected"),
    "data below a way up": (_external("a/../../secret.bin"), "its data is in 'a/../../secret.bin'; expected"),
    "data behind a link": (_external("link.bin"), "its data is in 'link.bin', which leads out of the folder"),
    "data that is not there": (_external("no.bin"), "there is no such file beside the .onnx file"),
    "data in a folder's place": (_external("."), "expected a file in"),
    "data beyond its file's end": (_external("here.bin", "0", "9999"), "expected 9999 bytes from 0 in here.bin, which"),
    "data from a negative place": (_external("here.bin", "-1"), "offset: expected a number of bytes, got '-1'"),
    "too little data": (_external("here.bin", "0", "64"), "tensor W: expected 80 numbers of [1, 20, 4], got 16"),
    "no version": (lambda m: m.ClearField("opset_import"), "version of ONNX's operators (opset): expected one of 7 to"),
    "a version to come": (lambda m: setattr(m.opset_import[0], "version", 99), "expected one of 7 to 26, got [99]"),
    "no graph": (lambda m: m.ClearField("graph"), "it has no graph"),
    "no input": (lambda m: m.graph.ClearField("input"), "its input x is made by nothing before it"),
    "an input of text": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING),
        "input x: expected float or int64 numbers",
    ),
    "an input too large": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 1 << 40),
        "input x: expected sizes up to 1048576, got 1099511627776",
    ),
    "an input whose axes are not known": (
        lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
        "input x: expected a tensor whose number of axes is known",
    ),
    "sparse tensors": (lambda m: m.graph.sparse_initializer.add(), "sparse tensors are not known"),
    "too many nodes": (
        lambda m: m.graph.node.extend([node("Relu", "x", f"r{n}") for n in range(10_001)]),
        "expected at most 10000 nodes",
    ),
    "weights that are not finite": (_weight(raw_data=np.full(80, np.nan, "<f4").tobytes()), "tensor W: expected"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_damaged_or_made_to_harm_is_refused_by_the_tensors_name(case: str, tmp_path: Path) -> None:
    change, said = FILES[case]
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 320)
    (folder / "here.bin").write_bytes(b"\0" * 320)
    os.symlink(tmp_path / "secret.bin", folder / "link.bin")
    model = recurrent()
    change(model)
    refused(save(model, folder), said)


class Payload:
    """What a pickle would run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_garbage_a_cut_file_and_a_pickle_are_refused_and_nothing_is_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "made.onnx", tmp_path / "run"
    whole = (FIXTURES / "lstm.old.onnx").read_bytes()
    for data in (b"garbage" * 99, whole[: len(whole) // 2], whole[:-1], whole[:40], pickle.dumps(Payload(mark))):
        path.write_bytes(data)
        refused(path, "is not an .onnx file, or cut short")
    path.write_bytes(b"")
    refused(path, "expected 1 to 2147483647 bytes, got 0")
    path.unlink()
    refused(path, "no such file")
    assert not mark.exists()


def test_any_cut_of_a_file_is_refused_or_is_the_model(tmp_path: Path) -> None:
    whole = (FIXTURES / "lstm.old.onnx").read_bytes()
    for end in range(0, len(whole), 97):
        path = tmp_path / "made.onnx"
        path.write_bytes(whole[:end])
        refused(path)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = save(graph([node("Relu", "x", "y")], ["y"]), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"the_relu", b"the_\xff\xfe\xfd\xfc"))
    refused(path, "a name in it is no text")


def test_bytes_that_many_tensors_share_are_not_read_over_and_over(tmp_path: Path) -> None:
    model = recurrent()
    (tmp_path / "here.bin").write_bytes(b"\0" * 320)
    _external("here.bin")(model)
    (shared,) = [one for one in model.graph.initializer if one.name == "W"]
    for number in range(4):
        model.graph.initializer.append(shared)
        model.graph.initializer[-1].name = f"W{number}"
    refused(save(model, tmp_path), "tensor W3: here.bin is read over and over: 1600 bytes of 320")


def test_many_values_that_are_large_together_are_refused(tmp_path: Path) -> None:
    nodes = [node("Expand", "x wide", "v0"), *(node("Relu", f"v{n}", f"v{n + 1}") for n in range(20))]
    model = graph(nodes, ["v20"], constants={"wide": [1, 1, 1 << 22]}, inputs={"x": ("T", "B", 1)})
    refused(save(model, tmp_path), "numbers for a step; expected at most 67108864")
    folded = [node("ConstantOfShape", "wide", f"v{n}") for n in range(17)]
    sums = [node("Add", "x v0", "s0"), *(node("Add", f"s{n} v{n + 1}", f"s{n + 1}") for n in range(16))]
    model = graph([*folded, *sums], ["s16"], constants={"wide": [1 << 20, 4]})
    refused(save(model, tmp_path), "numbers of constants; expected at most 67108864")


def test_the_files_own_numbers_are_not_put_together_over_and_over(tmp_path: Path) -> None:
    nodes = [
        node("Concat", "W W", "v0", axis=2),
        *(node("Concat", f"v{n} v{n}", f"v{n + 1}", axis=2) for n in range(40)),
        node("ReduceSum", "v40", "sum", keepdims=0),
        node("Add", "x sum", "y"),
    ]
    constants = {"W": np.ones((1, 20, 400), np.float32)}
    refused(save(graph(nodes, ["y"], constants=constants), tmp_path), "a value of 8192000 numbers; expected at most")
    nodes = [node("Transpose", f"v{n}", f"v{n + 1}", perm=[1, 0]) for n in range(200)]
    nodes += [node("ReduceSum", "v200", "sum", keepdims=0), node("Add", "x sum", "y")]
    constants = {"v0": np.ones((1024, 1024), np.float32)}
    refused(save(graph(nodes, ["y"], constants=constants), tmp_path), "numbers are made of the file's own; expected")


def test_a_convolutions_zeros_are_no_more_than_a_value_may_have(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "channels", perm=[1, 2, 0]),
        node("Conv", "channels K", "convolved", pads=[1 << 24, 0]),
        node("Transpose", "convolved", "y", perm=[2, 0, 1]),
    ]
    model = graph(nodes, ["y"], constants={"K": np.ones((3, 4, 3), np.float32)})
    refused(save(model, tmp_path), "node the_conv (Conv): a value of 67108868 numbers; expected at most 4194304")


def test_two_outputs_of_the_same_name_in_a_bundle_are_refused(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a/b"), node("Tanh", "x", "a:b")]
    refused(save(graph(nodes, ["a/b", "a:b"]), tmp_path), "have the same name in a bundle")


def test_a_bundle_that_gives_something_else_than_onnxruntime_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from elman_models.from_onnx.operators import OPERATORS

    monkeypatch.setitem(OPERATORS, "Relu", lambda call: torch.relu(call.tensor(0)) + 1e-3)
    path = save(graph([node("Relu", "x", "y")], ["y"]), tmp_path)
    refused(path, "the bundle does not give what onnxruntime gives: largest difference 1.0e-03 in y")


def test_the_length_of_a_sequence_in_its_numbers_is_refused(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "sizes"),
        node("Gather", "sizes zero", "length"),
        node("Cast", "length", "many", to=FLOAT),
        node("Div", "x many", "y"),
    ]
    refused(save(graph(nodes, ["y"], constants={"zero": 0}), tmp_path), "depends on the batch or the length")
