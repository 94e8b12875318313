"""`elman-server pack --random`: a bundle of random weights by PyTorch's rule, the same from the same seed."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from elman_models import read_spec, read_weights
from elman_server.cli.main import main

Captured = pytest.CaptureFixture[str]

MODELS = {
    "lstm 10 20 --layers 2": nn.LSTM(10, 20, 2),
    "gru 4 6 --bidirectional": nn.GRU(4, 6, bidirectional=True),
    "lstm 4 6 --proj 3": nn.LSTM(4, 6, proj_size=3),
    "rnn 4 6 --no-bias --nonlinearity relu": nn.RNN(4, 6, bias=False, nonlinearity="relu"),
}


@pytest.mark.parametrize("text", MODELS)
def test_it_has_the_tensors_of_torchs_module_within_torchs_bound(text: str, tmp_path: Path) -> None:
    assert main(["pack", "--random", text, "--out", str(tmp_path / "m"), "--name", "trial"]) == 0
    weights = read_weights(tmp_path / "m", read_spec(tmp_path / "m"))
    module = MODELS[text]
    expected = {f"rnn.{name}": tuple(tensor.shape) for name, tensor in module.named_parameters()}
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == expected
    bound = 1 / math.sqrt(module.hidden_size)
    every = torch.cat([tensor.flatten() for tensor in weights.values()])
    assert 0.9 * bound < every.abs().max() <= bound
    assert abs(float(every.std()) - bound / math.sqrt(3)) < 0.1 * bound


def test_the_same_seed_makes_the_same_bytes_and_another_other_ones(tmp_path: Path) -> None:
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        assert main(["pack", "--random", "gru 3 4", "--seed", seed, "--out", str(tmp_path / name), "--name", "m"]) == 0
    a, b, c = ((tmp_path / name / "weights.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_embedding_and_head_come_with_it(tmp_path: Path, capsys: Captured) -> None:
    given = ["--random", "gru 3 4 --embedding 11 --head 5", "--out", str(tmp_path / "m"), "--precision", "bfloat16"]
    assert main(["pack", *given]) == 0
    spec = read_spec(tmp_path / "m")
    assert spec.embedding is not None
    assert (spec.embedding.num_embeddings, spec.output_size, spec.precision) == (11, 5, "bfloat16")
    assert "random, seed 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lstm 10", "expected rnn|lstm|gru INPUT_SIZE HIDDEN_SIZE"),
        ("elman 3 4", "expected rnn|lstm|gru"),
        ("gru 3 four", "invalid int value"),
        ("gru 3 4 --proj 2", "proj"),
        ("gru 3 4 --nonlinearity relu", "--nonlinearity is of an rnn"),
        ("gru 3 0", "hidden_size: input should be greater than or equal to 1, got 0"),
        ("gru 1000000 1000000", "expected at most 17,179,869,184 bytes of weights, got 24,000,024,000,000"),
        ("gru -3 4", "input_size: input should be greater than or equal to 1, got -3"),
        ("gru 3 4 --head 0", "head.out_features: input should be greater than or equal to 1, got 0"),
        ("gru 3 4 --embedding 0", "embedding.num_embeddings: input should be"),
        ("gru 3 4 --layer 2", "unrecognized"),
        ("gru '3 4", "expected rnn|lstm|gru"),
        ("", "expected rnn|lstm|gru"),
    ],
)
def test_what_describes_no_model_is_refused_in_words(text: str, message: str, tmp_path: Path, capsys: Captured) -> None:
    assert main(["pack", "--random", text, "--out", str(tmp_path / "m")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", str(1 << 63)])
def test_a_seed_that_is_none_is_refused_in_words(seed: str, tmp_path: Path, capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["pack", "--random", "gru 3 4", "--seed", seed, "--out", str(tmp_path / "m")])
    assert "expected an integer, 0 to 2^63 - 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--key", "ema"),
        ("--nonlinearity", "relu"),
        ("--rnn-key", "rnn"),
        ("--embedding-key", "none"),
        ("--head-key", "none"),
        ("--leave-out", "head"),
        ("--golden", "g.npz"),
        ("--tolerance", "0"),
    ],
)
def test_what_is_of_trained_weights_is_refused(option: str, value: str, tmp_path: Path, capsys: Captured) -> None:
    assert main(["pack", "--random", "rnn 3 4", "--out", str(tmp_path / "m"), option, value]) == 2
    assert f"{option}: is of what was trained" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_weights_and_random_ones_are_one_of_the_two(tmp_path: Path, capsys: Captured) -> None:
    out = ["--out", str(tmp_path / "m")]
    assert main(["pack", *out]) == 2
    assert main(["pack", "w.pt", "--random", "gru 3 4", *out]) == 2
    assert capsys.readouterr().err.count("expected WEIGHTS or --random") == 2
    assert main(["pack", "w.pt", "--seed", "3", *out]) == 2
    assert "--seed: is of --random" in capsys.readouterr().err
