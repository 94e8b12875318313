"""A checkpoint is opened without running anything in it, and what is wrong with a file is told with what to do."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recurrent_cases import Reference, make_spec
from safetensors.torch import save_file, save_model
from state_dicts import GRU, StateDict, infer, module
from torch import nn

from elman_models import WeightsError, read_state_dict


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: {"state_dict": d, "epoch": 3},
        lambda d: {"model_state_dict": d, "optimizer_state_dict": {"lr": 0.1}},
        lambda d: {"model": {"state_dict": d}},
        lambda d: {"module": d},
        lambda d: {"net": d, "epoch": 3, "loss": torch.tensor(0.3), "rng": torch.zeros(9, dtype=torch.uint8)},
        lambda d: {"a": {"b": {"c": d}}, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{}]}},
        lambda d: {f"module.{name}": tensor for name, tensor in d.items()},
        lambda d: {f"_orig_mod.{name}": tensor for name, tensor in d.items()},
        lambda d: {f"_orig_mod.module.{name}": tensor for name, tensor in d.items()},
        lambda d: {"model": {f"module._orig_mod.{name}": tensor for name, tensor in d.items()}},
        lambda d: {name.replace("rnn.", "rnn._orig_mod."): tensor for name, tensor in d.items()},
        lambda d: {name: nn.Parameter(tensor) for name, tensor in d.items()},
    ],
)
def test_wrappers_and_prefixes_are_taken_off(wrap: Callable[[StateDict], Any], tmp_path: Path) -> None:
    spec = make_spec(parts=True)
    state_dict = dict(Reference(spec).state_dict())
    torch.save(wrap(state_dict), tmp_path / "w.pt")
    read = read_state_dict(tmp_path / "w.pt")
    assert read.keys() == state_dict.keys()
    assert all(torch.equal(read[name], state_dict[name]) for name in state_dict)
    assert not any(tensor.requires_grad for tensor in read.values())


class Bomb:
    """Runs a command when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(nested: bool, legacy: bool, tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "w.pt"
    bomb = {"state_dict": {"a": torch.ones(1), "b": Bomb(marker)}} if nested else Bomb(marker)
    torch.save(bomb, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"w\.pt: refused, and not run: it holds (posix|nt)\.system, "):
        read_state_dict(file)
    assert not marker.exists()


def test_a_plain_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "w.bin"
    file.write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(WeightsError, match=r"w\.bin: refused, and not run"):
        read_state_dict(file)
    assert not marker.exists()


def test_a_whole_saved_module_is_refused_with_what_to_save_instead(tmp_path: Path) -> None:
    torch.save(nn.LSTM(2, 3), tmp_path / "w.pt")
    with pytest.raises(
        WeightsError,
        match=r"holds torch\.nn\.modules\.rnn\.LSTM, .*: torch\.save\(model\.state_dict\(\), 'weights\.pt'\)",
    ):
        read_state_dict(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty; save the weights again: torch\.save"),
        (b"hello world" * 9, "is not what torch.save writes, neither a zip archive nor a pickle"),
        (b"\0" * 99, "is not what torch.save writes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "is a pointer of Git LFS"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras writes"),
        (b"PK\3\4" + bytes(60), "is damaged: a zip archive"),
        (b"\x80\x02garbage", "cannot be read as a PyTorch checkpoint|refused, and not run"),
    ],
)
def test_a_file_of_another_kind_is_refused_saying_what_it_is(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_state_dict(tmp_path / "w.pt")
    assert "weights_only" not in str(caught.value)


def test_a_zip_or_a_safetensors_file_of_another_name_is_refused_saying_what_it_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("a.txt", "x")
    save_file(GRU, tmp_path / "st.pt")
    with pytest.raises(WeightsError, match=r"zip\.pt: is a zip archive, but not what torch\.save writes"):
        read_state_dict(tmp_path / "zip.pt")
    with pytest.raises(WeightsError, match=r"st\.pt: is a safetensors file; name it \.safetensors"):
        read_state_dict(tmp_path / "st.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_cut_anywhere_is_refused_as_weights(legacy: bool, tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save(GRU, file, _use_new_zipfile_serialization=not legacy)
    whole = file.read_bytes()
    for length in range(0, len(whole), 41):
        file.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"w\.pt: "):
            read_state_dict(file)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ([torch.ones(1)], "expected a state_dict .*, got list"),
        (torch.ones(1), "expected a state_dict .*, got Tensor"),
        ({}, "got an empty mapping"),
        ({"epoch": 3, "a": torch.ones(1)}, r"got also epoch \(int\)"),
        ({1: torch.ones(1)}, r"got also 1 \(Tensor\)"),
        ({"a._orig_mod.b": torch.ones(1), "a.b": torch.ones(1)}, "stand twice once prefixes are taken off: a.b"),
    ],
)
def test_a_checkpoint_that_is_no_state_dict_is_refused(saved: Any, message: str, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=message):
        read_state_dict(tmp_path / "w.pt")


@pytest.mark.parametrize("others", [("ema",), ("ema", "discriminator")])
def test_of_several_state_dicts_none_is_taken_unasked(others: tuple[str, ...], tmp_path: Path) -> None:
    zeros = {name: torch.zeros_like(tensor) for name, tensor in GRU.items()}
    ones = {name: torch.ones_like(tensor) for name, tensor in GRU.items()}
    torch.save({"model": zeros, **{other: {"state_dict": ones} for other in others}}, tmp_path / "w.pt")
    names = ", ".join(["model", *(f"{other}.state_dict" for other in others)])
    with pytest.raises(WeightsError, match=rf"several state_dicts, {names}; choose one with key \(--key\)"):
        read_state_dict(tmp_path / "w.pt")
    assert not read_state_dict(tmp_path / "w.pt", "model")["rnn.weight_ih_l0"].any()
    for key in ("ema", "ema.state_dict"):
        assert read_state_dict(tmp_path / "w.pt", key)["rnn.weight_ih_l0"].all()
    with pytest.raises(WeightsError, match=rf"'emma' is no state_dict; there are: {names}"):
        read_state_dict(tmp_path / "w.pt", "emma")


def test_a_key_of_a_file_that_needs_none_is_refused(tmp_path: Path) -> None:
    torch.save(GRU, tmp_path / "w.pt")
    save_file(GRU, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"'model' is no state_dict; there are: the file itself"):
        read_state_dict(tmp_path / "w.pt", "model")
    with pytest.raises(WeightsError, match="holds one state_dict, without a key"):
        read_state_dict(tmp_path / "w.safetensors", "model")


def test_tensors_beside_the_state_dict_are_not_dropped_unasked(tmp_path: Path) -> None:
    torch.save({"model": GRU, "mean": torch.ones(4), "std": torch.ones(4)}, tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=r"beside the state_dict model stand the tensors mean, std; .*\(--key model\)"
    ):
        read_state_dict(tmp_path / "w.pt")
    assert read_state_dict(tmp_path / "w.pt", "model").keys() == GRU.keys()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_head_that_is_tied_to_the_embedding_is_there_whatever_saved_it(
    suffix: str, bias: bool, tmp_path: Path
) -> None:
    network = module(encoder=nn.Embedding(64, 32), rnn=nn.LSTM(32, 32), decoder=nn.Linear(32, 64, bias=bias))
    network.decoder.weight = network.encoder.weight
    file = tmp_path / f"w{suffix}"
    if suffix == ".pt":
        torch.save(network.state_dict(), file)
    else:
        save_model(network, str(file))
    spec, weights = infer(read_state_dict(file))
    assert spec.output_size == 64
    assert torch.equal(weights["head.weight"], network.encoder.weight)
    assert torch.equal(weights["embedding.weight"], network.encoder.weight)


def test_a_checkpoint_that_holds_itself_does_not_hang(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["model"] = loop
    torch.save(loop, tmp_path / "w.pt")
    with pytest.raises(WeightsError):
        read_state_dict(tmp_path / "w.pt")


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pt: no such file"):
        read_state_dict(tmp_path / "none.pt")
    with pytest.raises(WeightsError, match=r"model\.onnx: expected a \.safetensors"):
        read_state_dict(tmp_path / "model.onnx")


def test_a_safetensors_file_is_read_by_name_so_that_its_order_never_passes_for_a_module_s(tmp_path: Path) -> None:
    network = module(tokens=nn.Embedding(4, 3), lstm=nn.LSTM(3, 3, 2), z=nn.Linear(3, 2, bias=False))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    for _ in range(5):
        assert list(read_state_dict(tmp_path / "w.safetensors")) == sorted(network.state_dict())
