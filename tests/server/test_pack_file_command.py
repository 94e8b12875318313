"""`elman-server pack` of a file of ONNX, Keras or torch.export: what it says, its exit codes."""

import gzip
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as people write it

from elman_models import PackedInputs, load_graph
from elman_server.cli.main import main

Captured = pytest.CaptureFixture[str]
FIXTURES = Path(__file__).parents[1] / "models" / "fixtures"


def pack(file: Path, out: Path, *options: str) -> int:
    return main(["pack", str(file), "--out", str(out), *options])


def old(folder: Path) -> Path:
    path = folder / "old.H5"  # of whichever case
    path.write_bytes(gzip.decompress((FIXTURES / "keras" / "tagger.h5.gz").read_bytes()))
    return path


@pytest.mark.parametrize("kind", ["onnx", "keras", "h5"])
def test_a_file_is_taken_by_its_kind_and_what_was_made_of_it_is_said(
    kind: str, tmp_path: Path, capsys: Captured
) -> None:
    files = {"onnx": FIXTURES / "onnx" / "lstm.old.onnx", "keras": FIXTURES / "keras" / "lstm_stack.keras"}
    file = files[kind] if kind in files else old(tmp_path)
    assert pack(file, tmp_path / "m", "--name", "mine", "--version", "3", "--description", "it") == 0
    said = capsys.readouterr().out
    assert "mine, version 3: streaming" in said
    assert "  node     " in said
    assert "# node /rnn/LSTM (LSTM)" in said if kind == "onnx" else "# layer lstm (LSTM)" in said
    assert ("proved   against onnxruntime" if kind == "onnx" else "Keras itself was not run") in said
    spec = load_graph(tmp_path / "m", torch.device("cpu")).spec
    assert (spec.name, spec.version, spec.description) == ("mine", "3", "it")


def test_a_bundle_that_is_there_is_overwritten_if_asked_for_and_bears_its_folders_name(
    tmp_path: Path, capsys: Captured
) -> None:
    file = FIXTURES / "keras" / "gru_last.keras"
    assert pack(file, tmp_path / "counter") == 0
    assert "counter, version 1" in capsys.readouterr().out
    assert pack(file, tmp_path / "counter") == 1
    assert "overwrite it (--overwrite)" in capsys.readouterr().err
    assert pack(file, tmp_path / "counter", "--overwrite", "--precision", "bfloat16") == 0
    assert load_graph(tmp_path / "counter", torch.device("cpu")).spec.precision == "bfloat16"


def test_what_is_refused_is_said_in_a_line_with_the_files_name(tmp_path: Path, capsys: Captured) -> None:
    file = FIXTURES / "keras" / "with_lambda.keras"
    assert pack(file, tmp_path / "m") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"elman-server: {file}: layer lambda (Lambda): holds code, which is not run")
    assert not (tmp_path / "m").exists()


def test_a_golden_file_of_what_keras_gave_is_met_or_nothing_is_written(tmp_path: Path, capsys: Captured) -> None:
    file, golden = FIXTURES / "keras" / "tagger.keras", FIXTURES / "keras" / "tagger.npz"
    assert pack(file, tmp_path / "m", "--golden", str(golden)) == 0
    assert "golden   agrees: largest difference " in capsys.readouterr().out
    with np.load(golden) as arrays:
        np.savez(tmp_path / "other.npz", **{**arrays, "tags": arrays["tags"] + 0.01})
        np.savez(tmp_path / "half.npz", input=arrays["input"])
        np.savez(tmp_path / "ids.npz", **{**arrays, "input": arrays["input"] + 5})
        np.savez(tmp_path / "short.npz", **{**arrays, "last": arrays["last"][:1]})
    for name, said in {
        "other": "other.npz: DIFFERS: largest difference 1.0e-02 in tags",
        "half": "half.npz: expected input_layer_1 and some of tags, last, lstm.h, lstm.c, got input",
        "short": "short.npz: its arrays are not of one batch of sequences",
        "ids": "ids.npz: input_layer_1: expected ids in [0, 9), got 7 to 13",
        "none": "none.npz: ",
    }.items():
        assert pack(file, tmp_path / "n", "--golden", str(tmp_path / f"{name}.npz")) == 1
        assert said in capsys.readouterr().err
        assert not (tmp_path / "n").exists()


def test_a_tolerance_is_that_of_the_comparison(tmp_path: Path, capsys: Captured) -> None:
    file = FIXTURES / "onnx" / "lstm.old.onnx"
    assert pack(file, tmp_path / "m", "--tolerance", "0") == 1
    assert "does not give what onnxruntime gives" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("option", ["--key", "--rnn-key", "--head-key", "--leave-out"])
def test_options_that_say_what_weights_do_not_are_refused(option: str, tmp_path: Path, capsys: Captured) -> None:
    assert pack(FIXTURES / "onnx" / "lstm.old.onnx", tmp_path / "m", option, "x") == 2
    assert f"{option}: is of a state_dict; lstm.old.onnx is a whole model" in capsys.readouterr().err


def test_a_folder_whose_name_cannot_be_the_models_is_refused(tmp_path: Path, capsys: Captured) -> None:
    assert pack(FIXTURES / "onnx" / "lstm.old.onnx", tmp_path / "a b") == 1
    assert "name" in capsys.readouterr().err
    assert not (tmp_path / "a b").exists()


class Counter(nn.Module):
    """A stack and a head of ids."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn, self.head = nn.Embedding(11, 6), nn.GRU(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(F.layer_norm(self.rnn(self.embedding(ids))[0], (8,)))


def exported(folder: Path) -> tuple[nn.Module, Path]:
    torch.manual_seed(1)
    module, path = Counter().eval(), folder / "made.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of the stack's weights
        torch.export.save(torch.export.export(module, (torch.randint(11, (3, 7)),)), path)
    return module, path


def test_a_file_of_torch_export_gives_what_its_module_gives_for_other_lengths(tmp_path: Path, capsys: Captured) -> None:
    module, path = exported(tmp_path)
    ids = torch.randint(11, (4, 12))
    with torch.no_grad():
        wanted = module(ids)
    np.savez(tmp_path / "golden.npz", input=ids.numpy(), output=wanted.numpy())
    assert pack(path, tmp_path / "m", "--name", "mine", "--golden", str(tmp_path / "golden.npz")) == 0
    said = capsys.readouterr().out
    assert "mine, version 1: streaming" in said
    assert "golden   agrees: largest difference " in said
    stack = load_graph(tmp_path / "m", torch.device("cpu"))
    inputs = PackedInputs((ids.T.reshape(-1),), np.full(12, 4, np.int64))  # time first, as a batch of equal lengths is
    given, _ = stack.step(inputs, stack.initial_state(4))
    torch.testing.assert_close(given["output"].view(12, 4, 3).transpose(0, 1), wanted, rtol=1e-5, atol=1e-5)


def test_a_file_of_torch_export_that_holds_a_pickle_is_refused_in_a_line(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "old.PT2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_state_dict.pt", b"")
    assert pack(path, tmp_path / "m") == 1
    said = capsys.readouterr().err
    assert said.startswith(
        f"elman-server: {path}: serialized_state_dict.pt: of an older torch, whose weights are a pic"
    )
    assert said.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_a_file_of_torch_export_by_another_name_is_told_apart_from_weights(tmp_path: Path, capsys: Captured) -> None:
    _, path = exported(tmp_path)
    assert pack(path.rename(tmp_path / "made.pt"), tmp_path / "m") == 1
    assert "made.pt: is a program of torch.export.save, not weights; name it .pt2" in capsys.readouterr().err
