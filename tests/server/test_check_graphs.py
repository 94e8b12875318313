"""`elman-server check` and `plans` of models that are graphs."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from graph_cases import graph_weights, make_network, random_context, random_inputs
from graph_networks import ActorCritic, Forecaster, MinGru, Network, NoiseSuppression, Tagger, TwoSizes
from toys import write_toys

from elman_models import write_bundle
from elman_models.spec import Precision
from elman_server.cli.main import main

Captured = pytest.CaptureFixture[str]


def write(folder: Path, kind: type[Network]) -> Network:
    """The bundle's network."""
    torch.manual_seed(1)
    network, _ = make_network(kind)
    write_bundle(folder, kind.spec.model_copy(update={"name": kind.__name__}), graph_weights(kind.spec, network))
    return network


def golden(file: Path, network: Network, length: int = 6, **changes: np.ndarray) -> Path:
    given, context = random_inputs(network.spec, length), random_context(network.spec)
    arrays = {**given, **context, **network(given, context)}
    np.savez(file, **({name: tensor.numpy() for name, tensor in arrays.items()} | changes))  # type: ignore[arg-type]
    return file


def test_a_graph_is_described_and_drawn_as_text(tmp_path: Path, capsys: Captured) -> None:
    write(tmp_path / "m", Forecaster)
    assert main(["check", str(tmp_path / "m")]) == 0
    said = capsys.readouterr().out
    assert "inputs:      x [2], weekday [] int64, ids in [0, 7)" in said
    assert "context:     item [] int64 per row, ids in [0, 9)" in said
    assert "sessions:    yes" in said
    assert "unproven:" in said
    assert any(line.startswith("gru") or line.startswith("lstm") for line in said.splitlines())


def test_graphs_and_stacks_stand_in_one_folder_and_a_name_that_two_bear_is_refused(
    tmp_path: Path, capsys: Captured
) -> None:
    write(tmp_path / "a", Tagger)
    write(tmp_path / "b", ActorCritic)
    assert main(["check", str(tmp_path)]) == 0
    assert "sessions:    no: Infer only" in capsys.readouterr().out
    write(tmp_path / "c", ActorCritic)
    assert main(["check", str(tmp_path)]) == 1
    assert "model ActorCritic, version 1, is in 2 folders" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [ActorCritic, Forecaster, Tagger])
def test_a_graph_is_held_against_what_the_module_gives(kind: type[Network], tmp_path: Path, capsys: Captured) -> None:
    network = write(tmp_path / "m", kind)
    assert main(["check", str(tmp_path / "m"), "--golden", str(golden(tmp_path / "g.npz", network))]) == 0
    said = capsys.readouterr().out
    assert "golden:      agrees" in said
    assert ("not chunked" in said) == (kind is Tagger)


def test_a_graph_that_gives_something_else_fails(tmp_path: Path, capsys: Captured) -> None:
    network = write(tmp_path / "m", ActorCritic)
    wrong = golden(tmp_path / "g.npz", network, value=np.zeros(6, np.float32))
    assert main(["check", str(tmp_path / "m"), "--golden", str(wrong)]) == 1
    said = capsys.readouterr()
    assert "DIFFERS" in said.out
    assert "in value" in said.out
    assert "gives something else" in said.err


@pytest.mark.parametrize("changes", [{}, {"rnn.h": np.zeros((2, 6), np.float32)}], ids=["as it is", "another"])
def test_states_after_the_last_step_are_held_against_the_file_too(
    changes: dict[str, np.ndarray], tmp_path: Path, capsys: Captured
) -> None:
    network = write(tmp_path / "m", ActorCritic)
    file = golden(tmp_path / "g.npz", network)
    arrays = dict(np.load(file))
    arrays["rnn.h"] = network.rnn(torch.from_numpy(arrays["x"]))[1].numpy()
    np.savez(file, **(arrays | changes))  # type: ignore[arg-type]
    assert main(["check", str(tmp_path / "m"), "--golden", str(file)]) == int(bool(changes))
    assert ("DIFFERS: largest difference" in capsys.readouterr().out) == bool(changes)


def test_states_of_a_batch_stand_as_torch_has_them(tmp_path: Path, capsys: Captured) -> None:
    network = write(tmp_path / "m", ActorCritic)
    rows = [random_inputs(network.spec, 6) for _ in range(3)]
    given = [network(row, {}) for row in rows]
    arrays = {name: np.stack([one[name].numpy() for one in given], axis=1) for name in given[0]}
    arrays["input"] = np.stack([row["x"].numpy() for row in rows], axis=1)
    arrays["rnn.h"] = np.stack([network.rnn(row["x"])[1].numpy() for row in rows], axis=1)
    np.savez(tmp_path / "g.npz", **arrays)  # type: ignore[arg-type]
    assert main(["check", str(tmp_path / "m"), "--golden", str(tmp_path / "g.npz")]) == 0
    assert "read as [T, B, ...]" in capsys.readouterr().out


def test_what_is_not_a_number_never_agrees(tmp_path: Path, capsys: Captured) -> None:
    network = write(tmp_path / "m", ActorCritic)
    network.norm.weight *= 1e3
    network.critic.weight.fill_(3e38)  # products are infinities of either sign
    write_bundle(tmp_path / "m", network.spec, graph_weights(network.spec, network), overwrite=True)
    file = golden(tmp_path / "g.npz", network, value=np.zeros(6, np.float32))
    assert main(["check", str(tmp_path / "m"), "--golden", str(file)]) == 1
    assert "DIFFERS: largest difference inf in value" in capsys.readouterr().out


def test_a_golden_file_of_other_names_or_ids_out_of_range_is_refused_by_name(tmp_path: Path, capsys: Captured) -> None:
    network = write(tmp_path / "m", Forecaster)
    for changes, message in (
        ({"y": np.zeros(1)}, "expected x, weekday, item and some of"),
        ({"weekday": np.full(6, 7)}, "weekday: expected ids in [0, 7), got 7 to 7"),
        ({"weekday": np.zeros(6, np.float32)}, "weekday: expected integers (ids), got float32"),
        ({"x": np.full((6, 2), np.nan, np.float32)}, "x: expected finite numbers"),
        ({"x": np.zeros((5, 2), np.float32)}, "are not of one batch of sequences"),
        ({network.spec.outputs[0].name: np.full(6, np.inf)}, "expected finite numbers"),
    ):
        file = golden(tmp_path / "g.npz", network, **changes)
        assert main(["check", str(tmp_path / "m"), "--golden", str(file)]) == 1
        assert message in capsys.readouterr().err


def test_an_input_that_is_given_by_two_names_is_refused(tmp_path: Path, capsys: Captured) -> None:
    network = write(tmp_path / "m", ActorCritic)
    file = golden(tmp_path / "g.npz", network, input=np.zeros((6, 4), np.float32))
    assert main(["check", str(tmp_path / "m"), "--golden", str(file)]) == 1
    assert "expected x and some of policy, value, rnn.h, got x, policy, value, input" in capsys.readouterr().err


def test_a_graph_is_drawn_for_mermaid_and_as_svg(tmp_path: Path, capsys: Captured) -> None:
    write(tmp_path / "m", ActorCritic)
    picture = tmp_path / "m.md"
    assert main(["check", str(tmp_path / "m"), "--mermaid", str(picture)]) == 0
    assert f"drawn:       {picture}" in capsys.readouterr().out
    assert picture.read_text().startswith("```mermaid\nflowchart TD\n")
    assert main(["check", str(tmp_path / "m"), "--mermaid", str(tmp_path / "m.mmd")]) == 0
    bare = (tmp_path / "m.mmd").read_text()
    assert bare.startswith("flowchart TD\n")
    assert picture.read_text() == f"```mermaid\n{bare}```\n"
    if shutil.which("dot") is None:
        assert main(["check", str(tmp_path / "m"), "--svg", str(tmp_path / "m.svg")]) == 1
        assert "apt-get install graphviz" in capsys.readouterr().err
        pytest.skip("Graphviz's `dot` is not here")
    assert main(["check", str(tmp_path / "m"), "--svg", str(tmp_path / "m.svg")]) == 0
    drawn = (tmp_path / "m.svg").read_text()
    assert "<svg" in drawn
    assert all(name in drawn for name in ("policy", "value", "norm"))


def test_a_stack_is_drawn_as_the_graph_that_it_is(tmp_path: Path, capsys: Captured) -> None:
    write_toys(tmp_path, ["tokens"])
    picture = tmp_path / "m.md"
    assert main(["check", str(tmp_path / "tokens"), "--mermaid", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "stack:       GRU" in said
    assert f"drawn:       {picture}" in said
    assert all(name in picture.read_text() for name in ("embedding", "gru", "linear"))


def test_why_dot_fails_is_said(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "m", ActorCritic)
    (tmp_path / "dot").write_text("#!/bin/sh\necho no fonts here >&2\nexit 1\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert main(["check", str(tmp_path / "m"), "--svg", str(tmp_path / "m.svg")]) == 1
    assert "--svg: dot failed: no fonts here" in capsys.readouterr().err
    assert not (tmp_path / "m.svg").exists()


def test_a_picture_that_cannot_be_written_is_said(tmp_path: Path, capsys: Captured) -> None:
    write(tmp_path / "m", ActorCritic)
    assert main(["check", str(tmp_path / "m"), "--mermaid", str(tmp_path / "none" / "m.md")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="then the CUDA device is what serves")
@pytest.mark.parametrize(
    ("kind", "note"),
    [
        (NoiseSuppression, "vad, noise, denoise: precision float16 is not used on a CPU"),
        (Tagger, "float16 is not used on a CPU"),
        (MinGru, "precision float16 is not used: it is of recurrences, and the graph has none that plans run"),
    ],
)
def test_a_precision_that_a_graphs_recurrences_do_not_run_in_is_said(
    kind: type[Network], note: str, tmp_path: Path, capsys: Captured
) -> None:
    network = make_network(kind)[0]
    for precision in ("float16", "float32"):
        spec = kind.spec.model_copy(update={"precision": Precision(precision)})
        write_bundle(tmp_path / "m", spec, graph_weights(spec, network), overwrite=True)
        assert main(["check", str(tmp_path / "m")]) == 0
        said = capsys.readouterr().out
        notes = [line for line in said.splitlines() if line.startswith("note:        ") and "ort-graph" not in line]
        assert len(notes) == (precision == "float16")
        assert (note in said) == (precision == "float16")


def test_a_graphs_plans_are_shown_for_each_recurrence(tmp_path: Path, capsys: Captured) -> None:
    write(tmp_path / "m", ActorCritic)
    given = ["--models", str(tmp_path), "--warm-up-seconds", "0.1", "--cache", str(tmp_path / "cache")]
    assert main(["plans", *given]) == 0
    said = capsys.readouterr().out
    assert "\nrnn:\n" in said
    assert "rows x steps" in said
    network = make_network(MinGru)[0]
    write_bundle(tmp_path / "m", MinGru.spec, graph_weights(MinGru.spec, network), overwrite=True)
    assert main(["plans", *given]) == 0
    assert "no recurrence, so no plans" in capsys.readouterr().out


def test_a_broken_graph_is_refused_by_name(tmp_path: Path, capsys: Captured) -> None:
    write(tmp_path / "m", ActorCritic)
    file = tmp_path / "m" / "model.yaml"
    fields = yaml.safe_load(file.read_text())
    fields["nodes"][1]["op"] = "no_such"
    file.write_text(yaml.safe_dump(fields))
    assert main(["check", str(tmp_path / "m")]) == 1
    assert "no_such" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Tagger, "a graph of kind whole"),
        (MinGru, "a graph of kind step"),
        (TwoSizes, "node two (lstm): a projection"),
    ],
)
def test_why_onnxruntime_does_not_run_all_of_a_graph_is_said(
    kind: type[Network], reason: str, tmp_path: Path, capsys: Captured
) -> None:
    write(tmp_path / "m", kind)
    assert main(["check", str(tmp_path / "m")]) == 0
    said = capsys.readouterr().out
    assert f"note:        plan ort-graph, all nodes together in onnxruntime, is left out: {reason}" in said


def test_of_a_graph_that_onnxruntime_may_run_nothing_is_said(tmp_path: Path, capsys: Captured) -> None:
    write(tmp_path / "m", ActorCritic)
    assert main(["check", str(tmp_path / "m")]) == 0
    assert "left out" not in capsys.readouterr().out
