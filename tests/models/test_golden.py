"""A golden file proves what weights cannot tell: the model is held against what the module itself gives."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recurrent_cases import CELLS, Reference, as_state, make_model, make_spec, random_input
from safetensors.torch import save_file

from elman_models import BundleError, GoldenError, ModelSpec, Stack, State, compare, read_golden
from elman_models.comparison import TOLERANCE

Arrays = dict[str, torch.Tensor]
SPEC = make_spec("gru", parts=True)


def save(folder: Path, arrays: Arrays, suffix: str = ".npz") -> Path:
    file = folder / f"golden{suffix}"
    if suffix == ".npz":
        np.savez(file, **{name: tensor.numpy() for name, tensor in arrays.items()})
    else:
        save_file({name: tensor.contiguous() for name, tensor in arrays.items()}, file)
    return file


def batched(reference: Reference, input: torch.Tensor) -> Arrays:
    """What the module gives for [T, B, ...]."""
    output, hx = reference(input)
    h, c = as_state(hx)
    return {"input": input, "output": output, "h_n": h} | ({} if c is None else {"c_n": c})


def batch_first(arrays: Arrays) -> Arrays:
    """As a module with batch_first takes and gives it: states stay as they are."""
    return {name: t.transpose(0, 1) if name in ("input", "output") else t for name, t in arrays.items()}


def unbatched(arrays: Arrays) -> Arrays:
    return {name: tensor[:, 0] for name, tensor in arrays.items()}


def last_step(arrays: Arrays) -> Arrays:
    return arrays | {"output": arrays["output"][-1]}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("layout", "read_as"),
    [
        (lambda arrays: arrays, "[T, B, ...]"),
        (batch_first, "[B, T, ...]"),
        (unbatched, "[T, ...]"),
        (last_step, "[T, B, ...]"),
        (lambda arrays: last_step(arrays) | {"input": arrays["input"].transpose(0, 1)}, "[B, T, ...]"),
        (lambda arrays: last_step(unbatched(arrays)), "[T, ...]"),
        (lambda arrays: unbatched(arrays | {"output": arrays["output"][-1:]}), "[T, ...]"),
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_a_model_agrees_with_its_module_in_every_layout(
    cell: str, layout: Callable[[Arrays], Arrays], read_as: str, suffix: str, tmp_path: Path
) -> None:
    spec = make_spec(cell, num_layers=2, parts=True)
    reference, stack = make_model(spec)
    file = save(tmp_path, layout(batched(reference, random_input(spec, 9, 3))), suffix)
    difference = compare(stack, read_golden(file, spec))
    assert difference.largest <= TOLERANCE
    assert difference.chunked is not None
    assert difference.layout == read_as
    assert difference.describe(TOLERANCE).startswith("agrees: largest difference ")


def test_a_bidirectional_model_is_compared_whole(tmp_path: Path) -> None:
    spec = make_spec("lstm", bidirectional=True)
    reference, stack = make_model(spec)
    difference = compare(stack, read_golden(save(tmp_path, batched(reference, random_input(spec, 9, 3))), spec))
    assert difference.largest <= TOLERANCE
    assert difference.chunked is None
    assert "not chunked (it needs whole sequences)" in difference.describe(TOLERANCE)


@pytest.mark.parametrize("between", [torch.relu, torch.tanh, lambda y: torch.softmax(y, -1), lambda y: y * 1.001])
def test_what_weights_do_not_tell_is_found(between: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path) -> None:
    reference, stack = make_model(SPEC)
    arrays = batched(reference, random_input(SPEC, 9, 3))
    arrays["output"] = between(arrays["output"])
    difference = compare(stack, read_golden(save(tmp_path, arrays), SPEC))
    assert difference.where == "output"
    assert difference.largest > TOLERANCE
    assert difference.describe(TOLERANCE).startswith("DIFFERS: largest difference ")


def test_another_end_state_is_found(tmp_path: Path) -> None:
    reference, stack = make_model(SPEC)
    arrays = batched(reference, random_input(SPEC, 9, 3))
    arrays["h_n"] = arrays["h_n"] + 0.01
    difference = compare(stack, read_golden(save(tmp_path, arrays), SPEC))
    assert (difference.where, difference.largest > TOLERANCE) == ("h_n", True)


def test_a_state_that_is_lost_between_chunks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, stack = make_model(SPEC)
    step = Stack.step

    def forgetful(stack: Stack, input: Any, state: State) -> tuple[torch.Tensor, State]:
        return step(stack, input, stack.initial_state(state.h.shape[1]))

    monkeypatch.setattr(Stack, "step", forgetful)
    difference = compare(stack, read_golden(save(tmp_path, batched(reference, random_input(SPEC, 9, 3))), SPEC))
    assert difference.whole <= TOLERANCE
    assert difference.chunked is not None
    assert difference.chunked > TOLERANCE


def test_numbers_that_are_not_finite_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, stack = make_model(SPEC)
    file = save(tmp_path, batched(reference, random_input(SPEC, 9, 3)))
    monkeypatch.setattr(Stack, "_project", lambda _, output: torch.full((len(output), 6), float("nan")))
    assert compare(stack, read_golden(file, SPEC)).largest == float("inf")


def test_one_step_alone_is_said_to_tell_nothing_of_the_state(tmp_path: Path) -> None:
    reference, stack = make_model(SPEC)
    difference = compare(stack, read_golden(save(tmp_path, batched(reference, random_input(SPEC, 1, 3))), SPEC))
    assert "one step alone tells nothing of the state" in difference.describe(TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int32, torch.uint8])
def test_inputs_of_other_dtypes_of_their_kind_are_taken(dtype: torch.dtype, tmp_path: Path) -> None:
    spec = make_spec("gru") if dtype.is_floating_point else SPEC
    reference, stack = make_model(spec)
    input = random_input(spec, 9, 3).to(dtype)
    arrays = batched(reference, input.float() if dtype.is_floating_point else input.long()) | {"input": input}
    assert compare(stack, read_golden(save(tmp_path, arrays), spec)).largest <= TOLERANCE


def changed(spec: ModelSpec = SPEC, **changes: Any) -> tuple[ModelSpec, Arrays]:
    arrays = batched(Reference(spec), random_input(spec, 9, 3)) | changes
    return spec, {name: tensor for name, tensor in arrays.items() if tensor is not None}


FLOATS = make_spec("lstm")
IDS = torch.zeros(9, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (changed(output=None), r"expected input, output and perhaps h_n, got input, h_n$"),
        (changed(y=IDS), "got input, output, h_n, y$"),
        (changed(c_n=IDS), "expected input, output and perhaps h_n, got"),
        (changed(FLOATS, x=IDS), "expected input, output and perhaps h_n and c_n, got"),
        (changed(input=torch.zeros(9, 3)), r"input: expected integers \(token ids\), got float32"),
        (changed(input=torch.zeros(9, 3, dtype=torch.bool)), "input: expected numbers, got bool"),
        (
            changed(FLOATS, output=torch.zeros(9, 3, 5, dtype=torch.complex64)),
            "output: expected numbers, got complex64",
        ),
        (changed(FLOATS, input=IDS), "input: expected floats, got int64"),
        (changed(input=IDS + 11), r"input: expected ids in \[0, 11\), got 11 to 11"),
        (changed(input=IDS - 1), r"input: expected ids in \[0, 11\), got -1 to -1"),
        (changed(input=IDS[:, :, None]), r"input: expected \[T, B\], \[B, T\] or \[T\], got \[9, 3, 1\]"),
        (changed(FLOATS, input=torch.zeros(9, 3, 5)), r"input: expected \[T, B, 4\], \[B, T, 4\] or \[T, 4\], got"),
        (changed(FLOATS, input=torch.zeros(0, 3, 4)), r"input: expected .* got \[0, 3, 4\]"),
        (
            changed(output=torch.zeros(9, 3)),
            r"output: expected \[9, 3, 6\], of every step, or .* \[3, 6\] or \[9, 6\], got",
        ),
        (changed(output=torch.full((9, 3, 6), float("nan"))), "output: expected finite numbers"),
        (changed(h_n=torch.zeros(2, 3, 5)), r"h_n: expected \[1, 3, 5\], got \[2, 3, 5\]"),
        (changed(FLOATS, c_n=torch.zeros(1, 3, 6)), r"c_n: expected \[1, 3, 5\], got \[1, 3, 6\]"),
    ],
)
def test_a_golden_file_that_is_none_of_the_model_is_refused(
    case: tuple[ModelSpec, Arrays], message: str, tmp_path: Path
) -> None:
    spec, arrays = case
    with pytest.raises(GoldenError, match=rf"golden\.npz.*{message}"):
        read_golden(save(tmp_path, arrays), spec)


def test_rows_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    spec, arrays = changed(output=torch.zeros(9, 6))
    with pytest.raises(GoldenError, match="are not of one batch"):
        compare(make_model(spec)[1], read_golden(save(tmp_path, arrays), spec))


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_no_pickle_in_a_golden_file_is_opened(tmp_path: Path) -> None:
    mark, file = tmp_path / "mark", tmp_path / "golden.npz"
    np.savez(file, input=np.array([Touch(mark)], dtype=object), output=np.zeros(3))
    with pytest.raises(GoldenError, match=r"cannot be read as \.npz of plain arrays, which numpy\.savez"):
        read_golden(file, SPEC)
    file.write_bytes(pickle.dumps(Touch(mark)))
    with pytest.raises(GoldenError, match="cannot be read"):
        read_golden(file, SPEC)
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_golden_file_that_is_a_zip_bomb_or_has_a_name_twice_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "golden.npz"
    np.savez_compressed(file, input=np.zeros((1 << 22, SPEC.input_size), np.float32), output=np.zeros(3))
    with pytest.raises(GoldenError, match=r"golden\.npz: refused: \d+ bytes in \d+: a zip bomb"):
        read_golden(file, SPEC)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("input.npy", b"")
        archive.writestr("input.npy", b"")
    with pytest.raises(GoldenError, match=r"golden\.npz: refused: 'input\.npy' stands twice in it"):
        read_golden(file, SPEC)


@pytest.mark.parametrize("name", ["golden.npz", "golden.safetensors", "golden.npy"])
def test_a_golden_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    with pytest.raises(
        BundleError, match=r"golden\.(npz|safetensors): no such file|golden\.npy: expected a golden file"
    ):
        read_golden(file, SPEC)
    np.save(tmp_path / "array.npy", np.zeros(3))
    for content in (b"", b"PK\3\4", b"garbage" * 9, (tmp_path / "array.npy").read_bytes()):
        file.write_bytes(content)
        with pytest.raises(GoldenError, match=r"golden\.np|golden\.safetensors"):
            read_golden(file, SPEC)


def test_a_golden_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path, batched(Reference(SPEC), random_input(SPEC, 9, 3)))
    whole = file.read_bytes()
    for length in range(0, len(whole), 37):
        file.write_bytes(whole[:length])
        with pytest.raises(GoldenError, match=r"golden\.npz"):
            read_golden(file, SPEC)
