"""`elman-server check` says what a model asks for that this machine does not have."""

from pathlib import Path

import pytest
import torch

from elman_models import ModelSpec, write_bundle
from elman_models.plans import left_out
from elman_server.cli import main


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
