"""The tensors of a TorchScript archive are read, and nothing of it is run."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from elman_models import WeightsError, read_state_dict

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # of torch.jit: deprecated, and what a trace takes as fixed


class Tagger(nn.Module):
    """With what TorchScript writes besides tensors: numbers, lists, dicts, modules in modules."""

    names: dict[str, float]

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 3, num_layers=2)
        self.head = nn.Linear(3, 4).to(torch.float64)
        self.blocks = nn.ModuleList([nn.Linear(2, 2).to(torch.bfloat16), nn.Linear(2, 2)])
        self.register_buffer("mean", torch.arange(6.0).reshape(2, 3).T[:, 0])
        self.register_buffer("empty", torch.zeros(0, 2))
        self.count, self.sizes, self.names = 3, [1, 2], {"a": 1.5}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


SCRIPT: Callable[[nn.Module], torch.jit.ScriptModule] = torch.jit.script


def trace(module: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.trace(module, torch.zeros(1, 1, 2))


def write(path: Path) -> Path:
    torch.jit.save(torch.jit.script(Tagger()), path)
    return path


def rewrite(path: Path, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED) -> Path:
    """The archive with some members changed or, for None, left out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            changed = change(name.partition("/")[2], data)
            if changed is not None:
                archive.writestr(name, changed)
    return path


def with_pickle(path: Path, data: bytes) -> Path:
    return rewrite(write(path), lambda name, old: data if name == "data.pkl" else old)


@pytest.mark.parametrize("compiled", [SCRIPT, trace])
def test_the_tensors_have_the_names_and_values_of_the_state_dict(compiled, tmp_path: Path) -> None:
    module = Tagger()
    torch.jit.save(compiled(module), tmp_path / "w.pt")
    read, expected = read_state_dict(tmp_path / "w.pt"), module.state_dict()
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_the_code_is_not_asked(tmp_path: Path) -> None:
    file = rewrite(write(tmp_path / "w.pt"), lambda name, data: b"!" if name.startswith("code/") else data)
    assert "lstm.weight_ih_l0" in read_state_dict(file)


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_global_that_is_no_tensors_or_modules_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    file = with_pickle(tmp_path / "w.pt", pickle.dumps(Bomb(marker), protocol=2))
    with pytest.raises(WeightsError, match=r"w\.pt: refused, and not run: it holds (posix|nt)\.system, which"):
        read_state_dict(file)
    assert not marker.exists()


M = b"c__torch__\nM\n)\x81"  # a module with no attributes
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0%bX\x03\0\0\0cpuK%ctQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"i__torch__\nM\n.", "has the opcode b'i', which torch does not write"),
        (b"\x82\x01.", "has the opcode"),
        (b"c__torch__\nM\n)R.", "it calls __torch__.M"),
        (b"ccollections\nOrderedDict\n)\x81.", "expected a module of the archive's, got _Global"),
        (b"c__torch__\nM\n}b.", "expected attributes of a module, got those of _Global"),
        (M + b"N}\x86b.", r"__torch__\.M has a state of its own kind \(tuple\), which only its code can read"),
        (M + b"q\x00}X\x01\0\0\0ah\x00sb.", "expected modules within modules, got _Module at depth 65"),
        (
            M + b"}X\x01\0\0\0a" + STORAGE.replace(b"%b", b"/").replace(b"%c", b"\x01") + b"sb.",
            "a storage with a number",
        ),
        (
            M + b"}X\x01\0\0\0a" + STORAGE.replace(b"%b", b"9").replace(b"%c", b"\x63") + b"sb.",
            "elements of FloatStorage",
        ),
        (M + b"}b.", "whose module has no tensors"),
        (b"N.", "expected modules within modules, got NoneType"),
        (b"garbage", "cannot be read as a TorchScript archive|refused"),
    ],
)
def test_a_pickle_that_torch_does_not_write_is_refused_saying_what_it_has(
    data: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=message):
        read_state_dict(with_pickle(tmp_path / "w.pt", b"\x80\x02" + data))


def test_a_tensor_that_makes_much_of_a_little_is_refused(tmp_path: Path) -> None:
    module = nn.Module()
    module.register_buffer("wide", torch.zeros(1).expand(1000))
    torch.jit.save(torch.jit.script(module), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="a tensor of 1000 elements in a storage of 1"):
        read_state_dict(tmp_path / "w.pt")


def test_data_that_is_compressed_is_refused(tmp_path: Path) -> None:
    file = rewrite(write(tmp_path / "w.pt"), lambda _, data: data, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="is compressed, which torch does not do with data"):
        read_state_dict(file)


def test_members_that_count_the_same_bytes_twice_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "w.pt")
    with zipfile.ZipFile(file) as archive:
        folder = archive.namelist()[0].partition("/")[0]
    content = bytearray(file.read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(f"{folder}/data/0".encode()))
    size = (1 << 30).to_bytes(4, "little")
    content[at + 20 : at + 28] = size + size
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"bytes in .*: a zip bomb"):
        read_state_dict(file)


@pytest.mark.parametrize("name", ["w/../../up", "/etc/x", "w\\..\\up"])
def test_a_path_that_leads_out_is_refused_by_name(name: str, tmp_path: Path) -> None:
    file = write(tmp_path / "w.pt")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, "x")
    with pytest.raises(WeightsError, match="a path that leads out of the archive"):
        read_state_dict(file)


@pytest.mark.parametrize(
    ("left_out", "message"),
    [("data.pkl", "is a zip archive, but not what torch.save writes"), ("data/0", "'data/0': no such member")],
)
def test_an_archive_that_lacks_something_is_refused(left_out: str, message: str, tmp_path: Path) -> None:
    file = rewrite(write(tmp_path / "w.pt"), lambda name, data: None if name == left_out else data)
    with pytest.raises(WeightsError, match=message):
        read_state_dict(file)
