"""Bundles on disk: what is written is read back, and whatever is wrong with one is told by file and tensor."""

import os
from pathlib import Path

import pytest
import torch
from recurrent_cases import CELLS, CPU, Reference, assert_near, make_spec, pack, random_input
from safetensors.torch import save_file

from elman_models import (
    BundleError,
    SpecError,
    WeightsError,
    find_bundles,
    load,
    load_any,
    read_any_spec,
    read_spec,
    read_weights,
    write_bundle,
)

SPEC = make_spec("lstm_projected", num_layers=2, parts=True)
Weights = dict[str, torch.Tensor]


@pytest.fixture
def weights() -> Weights:
    return Reference(SPEC).state_dict()


@pytest.fixture
def folder(tmp_path: Path, weights: Weights) -> Path:
    return write_bundle(tmp_path / "bundle", SPEC, weights)


def save(folder: Path, weights: Weights) -> None:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "weights.safetensors")


@pytest.mark.parametrize("cell", CELLS)
def test_a_loaded_bundle_computes_what_the_module_that_was_written_does(cell: str, tmp_path: Path) -> None:
    spec = make_spec(cell, num_layers=2, parts=True)
    reference = Reference(spec)
    stack = load(write_bundle(tmp_path / "b", spec, reference.state_dict()), CPU)
    sequence = random_input(spec, 5)
    assert stack.spec == spec
    assert_near(stack.step(pack([sequence]), stack.initial_state(1))[0], reference(sequence)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_float_dtypes_are_cast_to_float32(
    dtype: torch.dtype, tmp_path: Path, weights: Weights
) -> None:
    given = {name: tensor.to(dtype) for name, tensor in weights.items()}
    read = read_weights(write_bundle(tmp_path / "b", SPEC, given), SPEC)
    assert all(tensor.dtype is torch.float32 for tensor in read.values())
    assert all(torch.equal(read[name], given[name].float()) for name in weights)


def test_tied_and_strided_weights_are_written_each_on_its_own(tmp_path: Path) -> None:
    spec = make_spec("gru", hidden_size=4, parts=True)
    weights = Reference(spec).state_dict()
    weights["head.weight"] = weights["embedding.weight"][:6]
    weights["rnn.weight_hh_l0"] = weights["rnn.weight_hh_l0"].T.contiguous().T
    read = read_weights(write_bundle(tmp_path / "b", spec, weights), spec)
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_loaded_weights_survive_the_file_being_cut_short(folder: Path, weights: Weights) -> None:
    read = read_weights(folder, SPEC)
    (folder / "weights.safetensors").write_bytes(b"")
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_a_file_cut_anywhere_is_refused_as_weights(folder: Path) -> None:
    path = folder / "weights.safetensors"
    whole = path.read_bytes()
    for length in [*range(0, 400, 7), *range(400, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"weights\.safetensors"):
            read_weights(folder, SPEC)


def test_a_flipped_byte_in_the_header_is_refused_or_changes_nothing(folder: Path, weights: Weights) -> None:
    path = folder / "weights.safetensors"
    whole = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    num_refused = 0
    for at in range(header):
        for mask in (0x01, 0x04, 0x80):
            whole[at] ^= mask
            path.write_bytes(whole)
            whole[at] ^= mask
            try:
                read = read_weights(folder, SPEC)
            except WeightsError:
                num_refused += 1
            else:
                assert read.keys() == weights.keys()
    assert num_refused > 2 * header


@pytest.mark.parametrize("junk", [b"", b"\x80\x04.", b"PK\x03\x04" + bytes(60), b"\xff" * 64, b"{}", bytes(8)])
def test_a_file_of_another_kind_is_refused_as_weights(folder: Path, junk: bytes) -> None:
    (folder / "weights.safetensors").write_bytes(junk)
    with pytest.raises(WeightsError, match=r"weights\.safetensors"):
        read_weights(folder, SPEC)


def test_a_missing_tensor_is_named(folder: Path, weights: Weights) -> None:
    del weights["rnn.weight_hr_l1"]
    save(folder, weights)
    with pytest.raises(WeightsError, match=r"weights\.safetensors: missing: rnn\.weight_hr_l1 \[3, 5\]$"):
        load(folder, CPU)


def test_an_extra_tensor_is_named(folder: Path, weights: Weights) -> None:
    save(folder, weights | {"norm.weight": torch.ones(3)})
    with pytest.raises(WeightsError, match=r"not in the spec: norm\.weight \[3\]$"):
        load(folder, CPU)


def test_a_wrong_shape_is_named_with_both_shapes(folder: Path, weights: Weights) -> None:
    save(folder, weights | {"head.bias": torch.ones(7)})
    with pytest.raises(WeightsError, match=r"head\.bias: expected shape \[6\], got \[7\]$"):
        load(folder, CPU)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_weights_that_are_not_floats_are_refused(folder: Path, weights: Weights, dtype: torch.dtype) -> None:
    save(folder, weights | {"head.bias": torch.zeros(6).to(dtype)})
    with pytest.raises(WeightsError, match=r"head\.bias: expected"):
        load(folder, CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_as_float32_are_refused(folder: Path, weights: Weights, value: float) -> None:
    bias = torch.zeros(6, dtype=torch.float64)
    bias[3] = value
    save(folder, weights | {"head.bias": bias})
    with pytest.raises(WeightsError, match=r"head\.bias: expected finite float32 numbers"):
        load(folder, CPU)
    with pytest.raises(WeightsError, match=r"weights: head\.bias: expected finite"):
        write_bundle(folder, SPEC, weights | {"head.bias": bias}, overwrite=True)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"weights\.safetensors: no such file"):
        load(folder, CPU)
    (folder / "model.yaml").unlink()
    with pytest.raises(SpecError, match=r"model\.yaml: cannot be read: No such file"):
        load(folder, CPU)


def test_a_spec_of_enormous_sizes_is_refused_before_anything_is_allocated(folder: Path) -> None:
    text = (folder / "model.yaml").read_text().replace("hidden_size: 5", f"hidden_size: {1 << 20}")
    (folder / "model.yaml").write_text(text)
    with pytest.raises(WeightsError, match="expected shape"):
        load(folder, CPU)


def test_a_folder_in_use_is_not_overwritten_unasked(folder: Path, weights: Weights) -> None:
    with pytest.raises(BundleError, match=r"is not empty but a bundle; .*\(--overwrite\)"):
        write_bundle(folder, SPEC, weights)
    (folder.parent / "file").write_text("")
    with pytest.raises(BundleError, match="is a file"):
        write_bundle(folder.parent / "file", SPEC, weights)


def test_overwriting_replaces_the_model_and_keeps_what_else_is_there(folder: Path, weights: Weights) -> None:
    (folder / "README.md").write_text("the model card")
    spec = SPEC.model_copy(update={"version": "2"})
    write_bundle(folder, spec, {name: torch.zeros_like(tensor) for name, tensor in weights.items()}, overwrite=True)
    assert read_spec(folder) == spec
    assert not any(tensor.any() for tensor in read_weights(folder, SPEC).values())
    assert (folder / "README.md").read_text() == "the model card"
    assert os.listdir(folder.parent) == ["bundle"]


def test_a_folder_that_is_no_bundle_is_never_overwritten(tmp_path: Path, weights: Weights) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="is not a bundle"):
        write_bundle(tmp_path, SPEC, weights, overwrite=True)
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_write_that_fails_leaves_everything_as_it_was(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    if exists:
        write_bundle(tmp_path / "b", SPEC, weights)
    before = sorted(path.read_bytes() for path in tmp_path.glob("b/*"))

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("elman_models.bundle.write_safetensors", no_space)
    with pytest.raises(BundleError, match="No space left on device"):
        write_bundle(tmp_path / "b", SPEC, weights, overwrite=True)
    assert sorted(path.read_bytes() for path in tmp_path.glob("b/*")) == before
    assert os.listdir(tmp_path) == (["b"] if exists else [])


def test_a_replacement_that_cannot_be_moved_in_puts_the_old_bundle_back(
    folder: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fail_for_drafts(path: Path, target: Path) -> Path:
        if target.name == "bundle" and not path.name.endswith(".old"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_drafts)
    with pytest.raises(BundleError, match="Input/output error"):
        write_bundle(folder, SPEC.model_copy(update={"version": "2"}), weights, overwrite=True)
    assert read_spec(folder) == SPEC
    assert os.listdir(folder.parent) == ["bundle"]


def test_bundles_are_found_by_name_and_hidden_folders_passed_over(tmp_path: Path, weights: Weights) -> None:
    for name in ("zeta", "alpha", ".draft"):
        write_bundle(tmp_path / name, SPEC, weights)
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").write_text("")
    assert [path.name for path in find_bundles(tmp_path)] == ["alpha", "zeta"]
    assert find_bundles(tmp_path / "alpha") == [tmp_path / "alpha"]
    assert find_bundles(tmp_path / "notes") == []


def test_a_models_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere: cannot be listed: No such file"):
        find_bundles(tmp_path / "nowhere")


def test_every_bundle_that_ships_can_be_loaded() -> None:
    for folder in find_bundles(Path(__file__).parents[2] / "models" / "bundles"):
        assert load_any(folder, CPU).spec == read_any_spec(folder)
