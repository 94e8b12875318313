"""`elman-server check`: what it says of a bundle, a folder of bundles, and what is neither."""

import shutil
from pathlib import Path

import pytest
import torch
from toys import write_toys

from elman_models import ModelSpec, write_bundle
from elman_models.plans import left_out
from elman_server.cli.main import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    write_toys(tmp_path, ["gru", "lstm"])
    return tmp_path


def test_each_bundle_of_a_folder_is_described(toys: Path, capsys: Captured) -> None:
    assert main(["check", str(toys)]) == 0
    said = capsys.readouterr().out
    assert said.count("model:       ") == 2
    assert "assumed:     no activation after" in said


@pytest.mark.parametrize("name", ["model.yaml", "weights.safetensors"])
def test_a_file_of_a_bundle_means_the_bundle(name: str, toys: Path, capsys: Captured) -> None:
    assert main(["check", str(toys / "gru" / name)]) == 0
    assert capsys.readouterr().out.count("model:       gru") == 1


def test_what_a_terminal_would_obey_in_a_bundle_is_shown_and_not_sent(tmp_path: Path, capsys: Captured) -> None:
    write_toys(tmp_path, ["gru"])
    spec = tmp_path / "gru" / "model.yaml"
    whole = "".join(line for line in spec.read_text().splitlines(keepends=True) if not line.startswith("description:"))
    spec.write_text(f'{whole}description: "\\e[2J all\\r gone"\n')
    assert main(["check", str(tmp_path)]) == 0
    assert "description: \\x1b[2J all\\x0d gone\n" in capsys.readouterr().out
    spec.write_text(f'{whole}"\\e[2J": 1\n')
    assert main(["check", str(tmp_path)]) == 1
    assert "model.yaml: \\x1b[2J: unknown key" in capsys.readouterr().err


def test_an_empty_folder_is_no_fault_but_said(tmp_path: Path, capsys: Captured) -> None:
    assert main(["check", str(tmp_path)]) == 0
    assert "there are no models to serve" in capsys.readouterr().out


def test_two_folders_of_one_name_and_version_are_refused_naming_both(toys: Path, capsys: Captured) -> None:
    shutil.copytree(toys / "gru", toys / "copy")
    assert main(["check", str(toys)]) == 1
    said = capsys.readouterr().err
    assert f"model gru, version 1, is in 2 folders: {toys / 'copy'}, {toys / 'gru'}; keep one" in said
    assert main(["check", str(toys / "copy")]) == 0


def test_what_is_no_bundle_is_refused_saying_what_is_expected(toys: Path, capsys: Captured) -> None:
    (toys / "weights.pt").write_bytes(b"")
    (toys / "gru" / "model.yaml").unlink()
    for path, message in {
        toys / "weights.pt": "is a file; expected a bundle (a folder with model.yaml)",
        toys / "nowhere": "cannot be listed: No such file or directory",
        toys / "gru": "has weights.safetensors, but no model.yaml",
        toys / "gru" / "weights.safetensors": "has weights.safetensors, but no model.yaml",
        toys: "has weights.safetensors, but no model.yaml",
    }.items():
        assert main(["check", str(path)]) == 1
        assert message in capsys.readouterr().err


def test_a_golden_file_is_of_one_bundle(toys: Path, capsys: Captured) -> None:
    assert main(["check", str(toys), "--golden", "golden.npz"]) == 1
    assert "--golden: is of one bundle; " in capsys.readouterr().err
    assert main(["check", str(toys / "gru"), "--golden", "golden.npz"]) == 1
    assert "golden.npz: no such file" in capsys.readouterr().err


def test_a_damaged_bundle_among_others_fails_alone(toys: Path, capsys: Captured) -> None:
    (toys / "gru" / "weights.safetensors").write_bytes(b"")
    assert main(["check", str(toys)]) == 1
    captured = capsys.readouterr()
    assert "model:       lstm" in captured.out
    assert "weights.safetensors: cannot be read as safetensors" in captured.err


@pytest.mark.parametrize("lacks", [True, False])
def test_check_says_which_precision_is_not_used_on_this_processor_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lacks: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(left_out, "has_bfloat16", lambda: not lacks)
    spec = ModelSpec(name="m", cell="gru", input_size=2, hidden_size=3, precision="bfloat16")
    write_bundle(tmp_path / "m", spec, {name: torch.zeros(shape) for name, shape in spec.parameter_shapes().items()})
    assert main(["check", str(tmp_path / "m")]) == 0
    said = capsys.readouterr().out
    assert ("note:        precision bfloat16 is not used on this processor: plan fused_bfloat16" in said) is lacks
