"""Files of torch.export.save as bundles, held against the modules that they were made of."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from module_networks import SEQUENCES
from pt2_files import Tagger, altered, argument, exported, members, node, nodes, tagger, written
from torch import nn

from elman_models import ExportError, PackedInputs, PackedModule, load_graph, pack, pack_pt2

NOT_SAVED = ("recommender", "recommender of five", "continuous control")
"""torch.export itself refuses them, or has in the file what is read in modules alone (gather)."""
AMBIGUOUS = {
    "mixture density": "the number 3 may be one of the network, or computed from the batch",
    "knowledge tracing": "the number 5 may be one of the network, or computed from the length",
    "knowledge tracing of questions": "the number 6 may be one of the network, or computed from the length",
    "self-attention": "may be one of the network, or computed from the length",
    "multi-head attention": "could be the length or the batch, or a size of the network",
    "autoencoder": "could be the length or the batch, or a size of the network",
    "autoencoder that narrows": "could be the length or the batch, or a size of the network",
    "electrocardiogram": "could be the length or the batch, or a size of the network",
    "text reader": "could be the length or the batch, or a size of the network",
    "deep speech, clipped": "could be the length or the batch, or a size of the network",
    "wake word": "could be the length or the batch, or a size of the network",
    "text reader that pools": "could be the length or the batch, or a size of the network",
}
"""Whose example has a size that is another number of the network, too, or whose length is the last axis of three."""
TWINS = (
    *("residual rms norm", "actor critic of two", "deepar gru", "bigru tagger", "attention pooling by bmm"),
    *("speaker beside", "learned start of two layers", "voice activity, chopped", "scaled forecaster by h_n"),
)
"""Like another here in all that a file says."""
BATCH, LENGTH = 4, 11
"""None of any example."""


def packed(path: Path, folder: Path) -> PackedModule:
    return pack_pt2(path, out=folder / "m", name="m", quiet=True)


def outputs(made: PackedModule, folder: Path, seed: int) -> list[torch.Tensor]:
    """For random sequences, of a batch and a length that no example has."""
    stack, generator = load_graph(folder, torch.device("cpu")), torch.Generator().manual_seed(seed)

    def numbers(one: Any, rows: int) -> torch.Tensor:
        if one.num_embeddings:
            return torch.randint(one.num_embeddings, (rows, *one.features), generator=generator)
        return torch.rand(rows, *one.features, generator=generator)

    inputs = PackedInputs(
        tuple(numbers(one, BATCH * LENGTH) for one in stack.spec.inputs), np.full(LENGTH, BATCH, np.int64)
    )
    context = {one.name: numbers(one, BATCH) for one in stack.spec.context}
    given, _ = stack.step(inputs, stack.initial_state(BATCH, context))
    return list(given.values())


@pytest.mark.parametrize("name", [name for name in SEQUENCES if name not in (*NOT_SAVED, *AMBIGUOUS, *TWINS)])
def test_a_file_of_one_length_and_batch_gives_what_its_module_gives_for_others(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    case = SEQUENCES[name]
    module, example = case.make().eval(), case.example()
    made = packed(exported(module, example, tmp_path), tmp_path)
    assert made.spec.kind == case.kind
    assert made.differences.largest <= 1e-5
    of_module = pack(module, example, out=tmp_path / "n", name="m", quiet=True)
    wanted = outputs(of_module, tmp_path / "n", 3)
    for given, want in zip(outputs(made, tmp_path / "m", 3), wanted, strict=True):
        torch.testing.assert_close(given, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_number_that_may_be_the_examples_length_or_batch_is_refused_by_its_line(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    case = SEQUENCES[name]
    path = exported(case.make(), case.example(), tmp_path)
    with pytest.raises(ExportError, match=r"node .*(module|second|third)_networks\.py, line \d+") as caught:
        packed(path, tmp_path)
    assert AMBIGUOUS[name] in str(caught.value)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["mixture density", "self-attention"])
def test_what_was_refused_so_is_packed_with_an_example_of_other_sizes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    case = SEQUENCES[name]
    (x,) = case.example()
    made = packed(exported(case.make(), (torch.randn(17, 19, x.shape[2]),), tmp_path), tmp_path)
    assert made.spec.kind == case.kind
    assert made.differences.largest <= 1e-5


@pytest.mark.parametrize("name", ["char lstm", "scaled forecaster", "voice activity, padded", "frames"])
def test_a_file_whose_batch_is_open_is_packed_too(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    case = SEQUENCES[name]
    made = packed(exported(case.make(), case.example(), tmp_path, is_open=True), tmp_path)
    assert made.spec.kind == case.kind
    assert made.differences.largest <= 1e-5


def test_outputs_are_called_by_the_keys_of_a_dict_and_a_state_is_the_sessions(tmp_path: Path) -> None:
    made = packed(tagger(tmp_path), tmp_path)
    assert [one.name for one in made.spec.outputs] == ["logits"]
    assert [one.name for one in made.spec.inputs] == ["x"]
    assert "returned h_n of lstm: is a session's state, no output" in str(made)


def test_what_is_assumed_and_what_it_was_held_against_is_said(tmp_path: Path) -> None:
    told = str(packed(tagger(tmp_path), tmp_path))
    assert "assumed  the file is of sequences of length 7 and a batch of 3; that the module does the same with" in told
    assert "proved   against the file's operations, run by torch (not the module that it was made of" in told
    assert "# node lstm (aten.lstm.input), pt2_files.py, line " in told
    assert "`y, (h, _) = self.lstm(self.embedding(x))`" in told


def test_a_golden_file_of_the_module_is_met_or_refused(tmp_path: Path) -> None:
    path, module = tagger(tmp_path), _tagger()
    x = torch.randint(11, (2, 9))
    with torch.no_grad():
        logits = module(x)["logits"]
    np.savez(tmp_path / "golden.npz", x=x.numpy(), logits=logits.numpy())
    made = pack_pt2(path, out=tmp_path / "m", name="m", golden=tmp_path / "golden.npz", quiet=True)
    assert "golden   agrees" in str(made)
    np.savez(tmp_path / "golden.npz", x=x.numpy(), logits=logits.numpy() + 1)
    with pytest.raises(ExportError, match=r"gives something else than .*golden"):
        pack_pt2(path, out=tmp_path / "n", name="m", golden=tmp_path / "golden.npz", quiet=True)
    assert not (tmp_path / "n").exists()


def _tagger() -> nn.Module:
    torch.manual_seed(1)
    return Tagger().eval()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_dtype_are_computed_in_float32_and_that_is_said(dtype: torch.dtype, tmp_path: Path) -> None:
    module = nn.GRU(4, 6, batch_first=True).to(dtype)
    made = packed(exported(module, (torch.randn(3, 7, 4, dtype=dtype),), tmp_path), tmp_path)
    assert f"float32 in place of {str(dtype).removeprefix('torch.')}" in str(made)
    assert made.differences.largest <= 1e-5


def test_nothing_in_the_file_is_unpickled_or_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported(Tagger(), (torch.randint(11, (3, 7)),), tmp_path, is_open=True)
    mark = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"

    def spoil(program: dict[str, Any]) -> None:
        for one in program["graph_module"]["graph"]["tensor_values"].values():
            for size in one["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = code
        program["guards_code"] = [code]
        program["range_constraints"] = {code: {"min_val": 2, "max_val": None}}

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (mark,))

    altered(path, spoil)
    parts = members(path)
    samples = [name for name in parts if "sample_inputs" in name]  # a pickle in every such file
    assert samples
    written(path, parts | dict.fromkeys(samples, pickle.dumps(Evil())))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    monkeypatch.setattr(torch.export, "load", lambda *_, **__: pytest.fail("loaded"))
    made = packed(path, tmp_path)
    assert made.differences.largest <= 1e-5
    assert not mark.exists()


def test_a_state_that_begins_elsewhere_than_at_zeros_is_kept_with_the_bundle(tmp_path: Path) -> None:
    path = tagger(tmp_path)
    altered(path, lambda program: node(program, "zeros").update(target="torch.ops.aten.ones.default"))
    made = packed(path, tmp_path)
    begins = {state.name: state.initial for state in made.spec.states}
    assert begins == {"lstm.h": "lstm.h_0", "lstm.c": None}
    assert torch.equal(made.assembled.weights["lstm.h_0"], torch.ones(2, 8))


def test_a_state_of_zeros_is_found_behind_copies_of_copies(tmp_path: Path) -> None:
    def copy(program: dict[str, Any]) -> None:
        zeros = nodes(program).index(node(program, "zeros"))
        names = [nodes(program)[zeros]["outputs"][0]["as_tensor"]["name"]] * 2
        for number in range(60):
            given = {"self": names[-1], "other": names[-2]}  # each is for two others: no way may be gone twice
            names.append(f"copy_{number}")
            made = {
                "target": "torch.ops.aten.to.other",
                "inputs": [{"name": key, "arg": {"as_tensor": {"name": name}}} for key, name in given.items()],
                "outputs": [{"as_tensor": {"name": names[-1]}}],
                "metadata": {},
            }
            nodes(program).insert(zeros + 1 + number, made)
        argument(program, "lstm", "hx")["arg"]["as_tensors"][0]["name"] = names[-1]
        values = program["graph_module"]["graph"]["tensor_values"]
        values[names[-1]] = values[names[0]]

    made = packed(altered(tagger(tmp_path), copy), tmp_path)
    assert [state.initial for state in made.spec.states] == [None, None]


def test_an_initial_state_that_is_an_argument_is_the_sessions(tmp_path: Path) -> None:
    case = SEQUENCES["char gru given its state"]
    made = packed(exported(case.make(), case.example(), tmp_path), tmp_path)
    assert len(made.assembled.state_inputs) == 1


def test_a_tensor_that_two_names_share_is_one(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn, self.head = nn.Embedding(9, 6), nn.GRU(6, 6), nn.Linear(6, 9, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.rnn(self.embedding(x))[0])

    made = packed(exported(Tied(), (torch.randint(9, (7, 4)),), tmp_path), tmp_path)
    assert sorted(tuple(t.shape) for t in made.assembled.weights.values()).count((9, 6)) == 1


class Scaled(nn.Module):
    """A series over the mean of some numbers, as many as there are."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
        given: torch.Tensor = self.gru(x / past.abs().mean(1)[:, None, None])[0]
        return given


@pytest.mark.parametrize("is_open", [False, True])
def test_numbers_of_a_session_are_its_context_though_no_weight_fixes_how_many(is_open: bool, tmp_path: Path) -> None:
    path = exported(Scaled(), (torch.randn(2, 5, 3), torch.randn(2, 6)), tmp_path, is_open=is_open)
    spec = packed(path, tmp_path).spec
    assert [(one.name, one.features) for one in spec.context] == [("past", (6,))]
