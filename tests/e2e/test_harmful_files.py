"""Files made to harm whoever packs them, beside a running server: refused by name, nothing in them run or written."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from broken_bundles import assert_lstm_is_served, listed
from keras_files import altered
from onnx import TensorProto
from onnx.helper import make_tensor_value_info
from onnx_files import graph, node, save, weights
from pt2_files import members, tagger
from served import Serve, Served
from toys import write_toys

from elman.v1 import models_pb2 as pb
from elman_server.cli.main import main

RUN = Path("run")
"""What a file that was run leaves, in the folder of the test."""


class Payload:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (RUN,)


def onnx_file(change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        nodes = [node("LSTM", "x W R B", "y", hidden_size=5), node("Squeeze", "y axes", "z")]
        model = graph(nodes, ["z"], constants=weights("LSTM") | {"axes": [1]})
        change(model)
        return save(model, folder)

    return made


def data_outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")


def pickled(name: str) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(pickle.dumps(Payload()))
        return path

    return made


def torch_saved(name: str, content: object) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        torch.save(content, folder / name)
        return folder / name

    return made


def keras_file(change: Callable[[dict[str, bytes]], object]) -> Callable[[Path], Path]:
    return lambda folder: altered("lstm_stack", folder, parts=change)


def pt2_file(parts: dict[str, bytes], folder: str = "made/") -> Callable[[Path], Path]:
    """A file of a Tagger, with these parts in place of its own or beside them."""

    def made(out: Path) -> Path:
        path = tagger(out)
        own = {f"made/{name}": data for name, data in members(path).items()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in (own | {f"{folder}{name}": data for name, data in parts.items()}).items():
                archive.writestr(name, data)
        return path

    return made


def zipped(parts: dict[str, bytes]) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "given.pt", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
        return folder / "given.pt"

    return made


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "onnx: a cycle": (
        onnx_file(lambda m: m.graph.node[0].input.__setitem__(0, "z")),
        "its input z is made by nothing before it",
    ),
    "onnx: a name used twice": (
        onnx_file(lambda m: m.graph.node[1].output.__setitem__(0, "y")),
        "node the_squeeze (Squeeze): its output y is there already",
    ),
    "onnx: a tensor's name used twice": (
        onnx_file(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
        "tensor W: a name used twice",
    ),
    "onnx: an input that nobody uses": (
        onnx_file(lambda m: m.graph.input.append(make_tensor_value_info("more", TensorProto.FLOAT, ["T", "B", 2]))),
        "more: nobody uses it",
    ),
    "onnx: a tensor that is missing": (
        onnx_file(lambda m: m.graph.initializer.pop(0)),
        "its input W is made by nothing before it",
    ),
    "onnx: shapes that do not agree": (
        onnx_file(lambda m: m.graph.input[0].type.tensor_type.shape.dim[2].__setattr__("dim_value", 3)),
        "node the_lstm (LSTM): input_size: expected 4, got 3",
    ),
    "onnx: an operation outside the vocabulary": (
        onnx_file(lambda m: m.graph.node[1].__setattr__("op_type", "Eval")),
        "node the_squeeze (Eval)",
    ),
    "onnx: data outside its folder": (onnx_file(data_outside), "its data is in '../secret.bin'; expected a file"),
    "onnx: weights that are NaN": (
        onnx_file(
            lambda m: m.graph.initializer[0].__setattr__("raw_data", np.full(80, np.nan, "<f4").tobytes()),
        ),
        "tensor W: expected",
    ),
    "onnx: a pickle": (pickled("given.onnx"), "is not an .onnx file"),
    "keras: a zip bomb": (keras_file(lambda p: p.update({"model.weights.h5": bytes(1 << 25)})), "a zip bomb"),
    "keras: a way out of its folder": (keras_file(lambda p: p.update({"../out": b""})), "leads out of the archive"),
    "keras: a depth bomb": (keras_file(lambda p: p.update({"config.json": b"[" * 200_000})), "is not JSON"),
    "keras: weights that are a pickle": (
        keras_file(lambda p: p.update({"model.weights.h5": pickle.dumps(Payload())})),
        "cannot be read as HDF5",
    ),
    "keras: a pickle": (pickled("given.keras"), "is neither a zip archive"),
    "h5: a pickle": (pickled("given.h5"), "nor an HDF5 file"),
    "pt2: a zip bomb": (pt2_file({"models/model.json": b" " * (1 << 25)}), "a zip bomb"),
    "pt2: a way out of its folder": (pt2_file({"out": b""}, folder="../"), "leads out of the archive"),
    "pt2: a depth bomb": (pt2_file({"models/model.json": b"[" * 200_000}), "models/model.json"),
    "pt2: a weight that is a pickle": (
        pt2_file({"data/weights/weight_9": pickle.dumps(Payload())}),
        "tensor head.weight",
    ),
    "pt2: a pickle": (pickled("given.pt2"), "is not a .pt2 file"),
    "torch: a zip bomb": (
        zipped({"w/data.pkl": b"", "w/data/0": bytes(1 << 25)}),
        "given.pt: refused: 33554432 bytes in ",
    ),
    "torch: a way out of its folder": (
        zipped({"w/data.pkl": pickle.dumps({}), "w/version": b"3", "../../out": b""}),
        "cannot be read as a PyTorch checkpoint",
    ),
    "torch: a state_dict of one number": (
        torch_saved("given.pt", {"rnn.weight_ih_l0": torch.zeros(1).expand(1 << 22, 1 << 20)}),
        "rnn.weight_ih_l0: 4398046511104 numbers of 1 that the file has",
    ),
    "torch: a pickle that calls": (pickled("given.pt"), "refused, and not run: it is not a pickle of tensors alone"),
    "torch: a state_dict that calls": (
        torch_saved("given.pth", {"rnn.weight_ih_l0": Payload()}),
        "refused, and not run",
    ),
    "torch: a checkpoint of another name": (
        torch_saved("given.safetensors", {"w": Payload()}),
        "cannot be read as safetensors",
    ),
}


async def assert_unharmed(served: Served, folder: Path) -> None:
    """What is served is served, and what is in the folder can be loaded."""
    await assert_lstm_is_served(served)
    write_toys(folder, ["gru"])
    await served.models.LoadModel(pb.LoadModelRequest(model="gru"))
    assert await listed(served) == ["gru 1", "lstm 1"]


async def test_files_that_would_harm_are_refused_by_name_beside_a_server_that_goes_on(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("here", "files"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(320))
    monkeypatch.chdir(tmp_path / "here")
    folder = write_toys(tmp_path / "mine", ["lstm"])
    served = await serve(models=folder)
    for what, (make, message) in FILES.items():
        assert_refused(make(tmp_path / "files"), folder, message, what, capsys)
    await assert_unharmed(served, folder)


def assert_refused(file: Path, folder: Path, message: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Packing it into a server's folder is a line on the standard error, and leaves nothing there."""
    assert main(["pack", str(file), "--out", str(folder / "new"), "--name", "new"]) == 1, what
    said = capsys.readouterr().err
    assert said.startswith(f"elman-server: {file}"), (what, said)
    assert message in said, (what, said)
    assert [path.name for path in folder.iterdir()] == ["lstm"], what
    assert not RUN.exists(), what
