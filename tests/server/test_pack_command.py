"""`elman-server pack`: what it says, what it takes, and its exit codes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from elman_server.cli.main import main

Captured = pytest.CaptureFixture[str]


class Forecast(nn.Module):
    """An LSTM with a head; `squash`: with a tanh behind it, which weights do not tell."""

    def __init__(self, squash: bool = False) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5)
        self.fc = nn.Linear(5, 2)
        self.squash = squash

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[T, B, 3] to [T, B, 2], and h_n."""
        output, (h_n, _) = self.lstm(input)
        output = self.fc(output)
        return (torch.tanh(output) if self.squash else output), h_n


def save(folder: Path, network: nn.Module) -> str:
    torch.save(network.state_dict(), folder / "weights.pt")
    return str(folder / "weights.pt")


def save_golden(folder: Path, network: Forecast) -> str:
    input = torch.randn(9, 2, 3)
    output, h_n = network.requires_grad_(False)(input)
    np.savez(folder / "golden.npz", input=input, output=output, h_n=h_n)
    return str(folder / "golden.npz")


def test_what_is_assumed_and_found_is_said(tmp_path: Path, capsys: Captured) -> None:
    assert main(["pack", save(tmp_path, Forecast()), "--out", str(tmp_path / "m")]) == 0
    said = capsys.readouterr().out
    assert "assumed:     no activation after the head" in said
    assert "found as:    stack lstm, head fc\n" in said
    assert "--golden FILE compares" in said
    assert "left out" not in said


def test_a_golden_file_of_the_module_is_met_and_the_bundle_written(tmp_path: Path, capsys: Captured) -> None:
    network = Forecast()
    weights, golden = save(tmp_path, network), save_golden(tmp_path, network)
    assert main(["pack", weights, "--out", str(tmp_path / "m"), "--golden", golden]) == 0
    assert "golden:      agrees: largest difference " in capsys.readouterr().out
    assert main(["check", str(tmp_path / "m"), "--golden", golden]) == 0
    assert "golden:      agrees: largest difference " in capsys.readouterr().out


def test_a_model_that_gives_something_else_is_not_written(tmp_path: Path, capsys: Captured) -> None:
    network = Forecast(squash=True)
    weights, golden = save(tmp_path, network), save_golden(tmp_path, network)
    packed = ["pack", weights, "--out", str(tmp_path / "m")]
    assert main([*packed, "--golden", golden]) == 1
    captured = capsys.readouterr()
    assert "golden:      DIFFERS: largest difference " in captured.out
    assert "tolerance 1e-05 x max(1, |expected|)" in captured.out
    assert "gives something else, so no bundle is written" in captured.err
    assert not (tmp_path / "m").exists()
    assert main([*packed, "--golden", golden, "--tolerance", "5"]) == 0
    assert main(["check", str(tmp_path / "m"), "--golden", golden]) == 1
    assert "gives something else than" in capsys.readouterr().err


def test_a_tolerance_without_a_golden_file_or_of_no_meaning_is_refused(tmp_path: Path, capsys: Captured) -> None:
    packed = ["pack", save(tmp_path, Forecast()), "--out", str(tmp_path / "m")]
    assert main([*packed, "--tolerance", "1e-3"]) == 2
    assert "--golden, which is not given" in capsys.readouterr().err
    for text in ("x", "nan", "-1", "inf"):
        with pytest.raises(SystemExit):
            main([*packed, f"--tolerance={text}"])
        assert f"expected a number, 0 or more, got '{text}'" in capsys.readouterr().err


def test_what_is_left_out_is_said(tmp_path: Path, capsys: Captured) -> None:
    packed = ["pack", save(tmp_path, Forecast()), "--out", str(tmp_path / "m")]
    assert main([*packed, "--leave-out", "fc"]) == 0
    assert "left out:    fc.weight, fc.bias\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "my model"], "name: expected 1 to 128 letters (A to Z), digits, dots"),
        (["--name", ""], "name: expected 1 to 128 letters"),
        (["--version", "1/2"], "version: expected 1 to 128 letters"),
        (["--out", "my model"], "the folder's name, 'my model', cannot be the model's; give another with --name"),
        (["--leave-out", "x"], "nothing is called 'x'; there are lstm, fc"),
        (["--key", "ema"], "'ema' is no state_dict; there are: the file itself"),
    ],
)
def test_a_bad_option_is_blamed_on_the_option(
    options: list[str], message: str, tmp_path: Path, capsys: Captured
) -> None:
    assert main(["pack", save(tmp_path, Forecast()), "--out", str(tmp_path / "m"), *options]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "A-Za-z" not in said
    assert "the state_dict:" not in said


def test_a_folder_in_use_is_refused_naming_overwrite_before_the_weights_are_read(
    tmp_path: Path, capsys: Captured
) -> None:
    packed = ["pack", save(tmp_path, Forecast()), "--out", str(tmp_path / "m")]
    assert main(packed) == 0
    capsys.readouterr()
    assert main([*packed[:1], "none.pt", *packed[2:]]) == 1
    captured = capsys.readouterr()
    assert "--overwrite" in captured.err
    assert not captured.out
    assert main([*packed, "--overwrite"]) == 0


@pytest.mark.parametrize("command", ["pack", "check"])
def test_help_has_no_metavars_that_repeat_the_option_and_no_patterns(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    assert not [line for line in said.split() if "_" in line and line.isupper()]
    assert "[A-Z" not in said
    assert "--golden FILE" in said


class Perceptron(Forecast):
    """An LSTM, two linear layers and a ReLU between."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(2, 2)

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[T, B, 3] to [T, B, 2], and h_n."""
        output, h_n = super().forward(input)
        return self.out(torch.relu(output)), h_n


def test_layers_with_an_activation_become_a_graph_and_what_is_assumed_is_said_and_proved(
    tmp_path: Path, capsys: Captured
) -> None:
    network = Perceptron()
    weights, golden = save(tmp_path, network), save_golden(tmp_path, network)
    packed = ["pack", weights, "--out", str(tmp_path / "m"), "--golden", golden]
    assert main(packed) == 1
    assert "activation (--activation relu, or none)" in capsys.readouterr().err
    assert main([*packed, "--activation", "tanh"]) == 1
    assert "gives something else" in capsys.readouterr().err
    assert main([*packed, "--activation", "relu"]) == 0
    said = capsys.readouterr().out
    assert "assumed:     fc, out run in that order, relu and nothing else between them" in said
    assert "found as:    stack lstm, head fc, out\n" in said
    assert "golden:      agrees: largest difference " in said
    assert main(["check", str(tmp_path / "m"), "--golden", golden]) == 0


def test_an_activation_of_another_name_or_without_weights_is_refused(tmp_path: Path, capsys: Captured) -> None:
    weights = save(tmp_path, Perceptron())
    assert main(["pack", weights, "--out", str(tmp_path / "m"), "--activation", "swiglu"]) == 1
    assert "activation: expected one of none, relu, " in capsys.readouterr().err
    assert main(["pack", "--random", "gru 3 4", "--out", str(tmp_path / "m"), "--activation", "relu"]) == 2
    assert "--activation: is of what was trained" in capsys.readouterr().err


def test_hyper_parameters_of_lightning_are_told_and_go_with_a_refusal(tmp_path: Path, capsys: Captured) -> None:
    state_dict = {f"net.{name}": tensor for name, tensor in Perceptron().state_dict().items()}
    told = {"hidden_size": 5, "activation": "relu"}
    torch.save({"state_dict": state_dict, "hyper_parameters": told}, tmp_path / "w.ckpt")
    packed = ["pack", str(tmp_path / "w.ckpt"), "--out", str(tmp_path / "m")]
    assert main(packed) == 1
    assert "The checkpoint's hyper_parameters: hidden_size=5, activation='relu'\n" in capsys.readouterr().err
    assert main([*packed, "--activation", "relu"]) == 0
    said = capsys.readouterr().out
    assert "trained as:  hidden_size=5, activation='relu' (the checkpoint's" in said
    assert "read from:   state_dict, beside hyper_parameters\n" in said


def test_help_says_of_each_option_what_it_is(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["pack", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--activation FUNCTION what stands between several linear layers after the stack" in said
    assert "--leave-out NAME a part that the bundle does without" in said
