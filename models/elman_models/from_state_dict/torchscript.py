"""The tensors of a TorchScript archive, read without running anything in it: its code is not looked at.

`data.pkl` tells of the module as a tree of attributes. It is read by an unpickler of ours, which builds nothing but
numbers, texts, lists, dicts and tensors, and calls nothing: a global is no more than its name there.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import torch

from elman_models.errors import WeightsError

_MAX_PICKLE_BYTES: Final = 64 << 20
_MAX_TENSORS: Final = 100_000
_MAX_DEPTH: Final = 64
"""Of modules in modules: a pickle can make one that holds itself."""
_STORAGES: Final = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LISTS: Final = tuple(f"torch.jit._pickle.build_{kind}list" for kind in ("int", "double", "bool", "tensor"))
_TENSOR: Final = "torch._utils._rebuild_tensor_v2"
_TYPED: Final = "torch.jit._pickle.restore_type_tag"
_DICT: Final = "collections.OrderedDict"
_GLOBALS: Final = {_TENSOR, _TYPED, _DICT, *_LISTS, *(f"torch.{name}" for name in _STORAGES)}
_OPCODES: Final = (
    *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM"),
    *("SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BINGET", "LONG_BINGET", "BINPUT"),
    *("LONG_BINPUT", "BINPERSID", "GLOBAL", "NEWOBJ", "REDUCE", "BUILD"),
)
"""Those that torch writes."""


def is_torchscript(path: Path) -> bool:
    """Whether the file is an archive of torch.jit.save."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def read_torchscript(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The tensors of the module in an archive of torch.jit.save, on the CPU, by the paths of their attributes
    (`lstm.weight_ih_l0`): parameters, buffers, and what else is a tensor of a module's.

    Raises:
        WeightsError: it cannot be read, names something that is not built here, or holds no tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            module = _Unpickler(_Archive(archive, Path(path).stat().st_size)).load()
        tensors = dict(_tensors(module, (), [_MAX_TENSORS]))
    except WeightsError as error:
        raise WeightsError(f"{path}: refused, and not run: {error}") from error
    except Exception as error:  # a damaged pickle makes an unpickler raise nearly anything
        raise WeightsError(f"{path}: cannot be read as a TorchScript archive: {error} ({_type(error)})") from error
    if not tensors:
        raise WeightsError(f"{path}: a TorchScript archive whose module has no tensors")
    return tensors


class _Archive:
    """The members of the zip that hold data. None is compressed, as torch writes them: so none is larger than the
    file, and the same bytes are not counted twice."""

    def __init__(self, archive: zipfile.ZipFile, num_bytes: int) -> None:
        self._archive = archive
        self._left = num_bytes
        for name in archive.namelist():
            if name.startswith("/") or "\\" in name or ".." in name.split("/"):
                raise WeightsError(f"{name!r}: a path that leads out of the archive")
        pickles = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(pickles) != 1:
            raise WeightsError(f"expected one data.pkl, got {len(pickles)}")
        self._folder = pickles[0].removesuffix("data.pkl")
        if f"{self._folder}byteorder" in archive.namelist():
            order = self.read("byteorder", 16).decode(errors="replace")
            if order != sys.byteorder:
                raise WeightsError(f"byteorder: expected {sys.byteorder}, got {order!r}")

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """One member. Raises WeightsError."""
        try:
            info = self._archive.getinfo(self._folder + name)
        except KeyError:
            raise WeightsError(f"{name!r}: no such member") from None
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise WeightsError(f"{name}: is compressed, which torch does not do with data")
        self._left -= info.file_size
        if self._left < 0 or info.file_size > (info.file_size if max_bytes is None else max_bytes):
            raise WeightsError(f"{name}: {info.file_size} bytes are more than the file has, or than it may have")
        return self._archive.read(info)


@dataclass(frozen=True)
class _Global:
    """A name; it stands for nothing that can be called."""

    name: str


@dataclass(eq=False)
class _Module:
    """Of a class that the archive's code tells of."""

    name: str
    attributes: dict[str, object] = field(default_factory=dict)


class _Unpickler(pickle._Unpickler):
    """Python's own one, with no opcode that calls, imports or sets anything."""

    dispatch: ClassVar[dict[int, Callable[..., None]]]
    stack: list[Any]

    def __init__(self, archive: _Archive) -> None:
        super().__init__(io.BytesIO(archive.read("data.pkl", _MAX_PICKLE_BYTES)))
        self._archive = archive
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A name. Raises WeightsError: not one that torch writes for tensors and modules."""
        full = f"{module}.{name}"
        if full not in _GLOBALS and not full.startswith("__torch__."):
            raise WeightsError(f"it holds {full}, which is none of a module's tensors")
        return _Global(full)

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """A storage, [elements]. Raises WeightsError."""
        match pid:
            case ("storage", _Global(name=kind), str(key), str(), int(count)) if key.isascii() and key.isdecimal():
                if key not in self._storages:
                    self._storages[key] = self._storage(kind.removeprefix("torch."), key, count)
                return self._storages[key]
        raise WeightsError(f"expected a storage with a number, got {str(pid)[:120]}")

    def _storage(self, kind: str, key: str, count: int) -> torch.Tensor:
        data, dtype = bytearray(self._archive.read(f"data/{key}")), _STORAGES.get(kind)
        if dtype is None or len(data) != count * dtype.itemsize:
            raise WeightsError(f"data/{key}: {len(data)} bytes are not {count} elements of {kind}")
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)

    def _new(self) -> None:
        args, of = self.stack.pop(), self.stack.pop()
        if not isinstance(of, _Global) or of.name in _GLOBALS or args != ():
            raise WeightsError(f"expected a module of the archive's, got {_type(of)}")
        self.stack.append(_Module(of.name))

    def _set(self) -> None:
        state, of = self.stack.pop(), self.stack[-1]
        if not isinstance(of, _Module):
            raise WeightsError(f"expected attributes of a module, got those of {_type(of)}")
        if not isinstance(state, dict):
            raise WeightsError(f"{of.name} has a state of its own kind ({_type(state)}), which only its code can read")
        of.attributes = state

    def _apply(self) -> None:
        args, of = self.stack.pop(), self.stack.pop()
        match of, args:
            case _Global(name=name), (torch.Tensor() as storage, int(offset), tuple(size), tuple(stride), *_) if (
                name == _TENSOR
            ):
                self.stack.append(_view(storage, offset, size, stride))
            case _Global(name=name), () if name == _DICT:
                self.stack.append({})
            case _Global(name=name), (value, *_) if name == _TYPED or name in _LISTS:
                self.stack.append(value)
            case _:
                raise WeightsError(f"it calls {of.name if isinstance(of, _Global) else _type(of)}")


_OWN: Final = {"NEWOBJ": _Unpickler._new, "BUILD": _Unpickler._set, "REDUCE": _Unpickler._apply}
_NUMBERS: Final = {getattr(pickle, opcode)[0]: opcode for opcode in _OPCODES}


def _refused(number: int) -> Callable[..., None]:
    def refuse(_: object) -> None:
        raise WeightsError(f"its pickle has the opcode {bytes((number,))!r}, which torch does not write")

    return refuse


_Unpickler.dispatch = {number: _refused(number) for number in range(256)} | {
    number: _OWN.get(opcode, pickle._Unpickler.dispatch[number]) for number, opcode in _NUMBERS.items()
}


def _view(storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    # A stride of 0 would make much of a little.
    view = storage.as_strided(size, stride, offset)
    if view.numel() > storage.numel():
        raise WeightsError(f"a tensor of {view.numel()} elements in a storage of {storage.numel()}")
    return view


def _tensors(value: object, path: tuple[str, ...], left: list[int]) -> Iterator[tuple[str, torch.Tensor]]:
    if not isinstance(value, _Module) or len(path) > _MAX_DEPTH:
        raise WeightsError(f"expected modules within modules, got {_type(value)} at depth {len(path)}")
    for name, item in value.attributes.items():
        left[0] -= 1
        if left[0] < 0:
            raise WeightsError(f"more than {_MAX_TENSORS} attributes")
        if isinstance(item, torch.Tensor):
            yield ".".join((*path, str(name))), item
        elif isinstance(item, _Module):
            yield from _tensors(item, (*path, str(name)), left)


def _type(value: object) -> str:
    return type(value).__name__
