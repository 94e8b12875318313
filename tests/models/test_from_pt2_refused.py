"""Files of torch.export.save that are damaged, made to harm, or no bundle: refused by name, nothing run or written."""

import json
import logging
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pt2_files import Program, Tagger, altered, argument, exported, members, node, nodes, tagger, written
from torch import nn

from elman_models import ExportError, pack_pt2
from elman_models.from_pt2 import archive

WEIGHTS = "data/weights/model_weights_config.json"


def refused(path: Path, *said: str) -> None:
    with pytest.raises(ExportError) as caught:
        pack_pt2(path, out=path.parent / "m", name="m", quiet=True)
    assert str(path) in str(caught.value)
    for words in said:
        assert words in str(caught.value)
    assert str(caught.value).replace("\n", "").isprintable()
    assert not (path.parent / "m").exists()


def _target(op: str, target: str) -> Callable[[Program], object]:
    return lambda program: node(program, op).update(target=target)


def _argument(op: str, name: str, arg: object) -> Callable[[Program], object]:
    return lambda program: argument(program, op, name).update(arg=arg)


def _nested(program: Program) -> None:
    deep: Any = {"as_int": 1}
    for _ in range(50):
        deep = {"as_sym_int": deep}
    argument(program, "linear", "input")["arg"] = deep


def _mutating(program: Program) -> None:
    specs = program["graph_module"]["signature"]["output_specs"]
    specs.append({"buffer_mutation": {"arg": {"name": "linear"}, "buffer_name": "scale"}})


def _values(program: Program) -> Program:
    found: Program = program["graph_module"]["graph"]["tensor_values"]
    return found


PROGRAMS: dict[str, tuple[Callable[[Program], object], str]] = {
    "another schema": (
        lambda p: p["schema_version"].update(major=9),
        "schema_version: expected 8, got 9",
    ),
    "no graph": (lambda p: p.pop("graph_module"), "graph_module: expected a mapping, got None"),
    "an operation of somebody's own": (
        _target("linear", "torch.ops.evil.run.default"),
        "node linear (evil.run.default), pt2_files.py, line ",
    ),
    "an operation that opens files": (
        _target("linear", "torch.ops.aten.from_file.default"),
        "aten.from_file.default), pt2_files.py, line ",
    ),
    "an operation that views any memory": (
        _target("linear", "torch.ops.aten.as_strided.default"),
        "as_strided.default), pt2_files.py, line ",
    ),
    "control flow": (_target("linear", "torch.ops.higher_order.cond"), "an operation that is not known"),
    "a function of Python's": (_target("linear", "builtins.eval"), "(builtins.eval)"),
    "a power of sizes": (_target("linear", "_operator.pow"), "(_operator.pow)"),
    "an attribute of torch.ops": (_target("linear", "torch.ops.aten.linear.__class__"), "of a form that is not known"),
    "a target with a path in it": (_target("linear", "torch.ops.aten/../evil"), "target: expected an operation's name"),
    "an operation of packed sequences": (
        _target("lstm", "torch.ops.aten.lstm.data"),
        "give the stack the padded sequences",
    ),
    "a part of a graph": (
        _argument("linear", "bias", {"as_graph": {"name": "g"}}),
        "an argument of the kind 'as_graph'",
    ),
    "an object": (_argument("linear", "bias", {"as_custom_obj": {"name": "g"}}), "the kind 'as_custom_obj'"),
    "an argument in an argument in an argument": (_nested, "node linear (aten.linear.default)"),
    "a number that is text": (_argument("lstm", "num_layers", {"as_int": "2"}), "expected a whole number, got '2'"),
    "a number without end": (_argument("lstm", "num_layers", {"as_int": 10**30}), "expected a whole number"),
    "an argument that is not there": (
        lambda p: argument(p, "linear", "bias").update(name="bios"),
        "expected the arguments input, weight, bias, got input, weight, bios",
    ),
    "a value that nothing makes": (
        _argument("linear", "input", {"as_tensor": {"name": "nothing"}}),
        "takes nothing, which is made by nothing before it",
    ),
    "nodes in another order": (lambda p: nodes(p).reverse(), "which is made by nothing before it"),
    "a value that is made twice": (lambda p: nodes(p).append(nodes(p)[0]), "which is there already"),
    "a shape that is another": (
        lambda p: _values(p)["linear"]["sizes"][2].update(as_int=4),
        "the file says [3, 7, 4] of linear, it gives [3, 7, 3]",
    ),
    "an input of another size": (
        lambda p: _values(p)["x"]["sizes"].append({"as_int": 2}),
        "the file says [3, 7, 6] of embedding, it gives [3, 7, 2, 6]",
    ),
    "a size that is too large": (lambda p: _values(p)["x"]["sizes"][0].update(as_int=1 << 50), "expected sizes up to"),
    "more layers than weights": (_argument("lstm", "num_layers", {"as_int": 3}), "8 weights do not go with 3 layers"),
    "weights of another stack": (
        _argument(
            "lstm",
            "params",
            {"as_tensors": [{"name": f"p_lstm_{kind}_l0"} for kind in _KINDS] * 2}
            if (_KINDS := ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            else {},
        ),
        "expected weights and states of [32, 8], got [32, 6]",
    ),
    "training": (
        lambda p: (
            [argument(p, "lstm", "train").update(arg={"as_bool": True})]
            and argument(p, "lstm", "dropout").update(arg={"as_float": 0.5})
        ),
        "dropout between layers, in training. Instead: export module.eval()",
    ),
    "a buffer that changes": (_mutating, "changes a buffer or an input when it runs"),
    "an input that is an object": (
        lambda p: p["graph_module"]["signature"]["input_specs"].append({"custom_obj": {}}),
        "an input of the kind 'custom_obj'",
    ),
    "a result too large": (
        _argument("zeros", "size", {"as_ints": [1 << 40]}),
        "node zeros (aten.zeros.default)",
    ),
    "a name that a terminal obeys": (lambda p: nodes(p)[0].update(name="\x1b[2J"), "expected the name of a value"),
    "a line that a terminal obeys": (
        lambda p: [
            node(p, "linear")["metadata"].update(stack_trace='File "a.py", line 1, in f\n    \x1b[2J'),
            node(p, "linear").update(target="torch.ops.evil.run.default"),
        ],
        "a.py, line 1, `",
    ),
    "one of its own constants": (
        _argument("mul", "other", {"as_int": 7}),
        "the number 7 may be one of the network, or computed from the length that the file is for",
    ),
}


def test_what_is_refused_is_said_once_and_not_logged_by_torch_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = altered(tagger(tmp_path), _argument("linear", "input", {"as_tensor": {"name": "x"}}))
    refused(path, "node linear (aten.linear.default)", "same reduction dim")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_no_graph_can_be_is_refused_by_what_is_wrong(name: str, tmp_path: Path) -> None:
    change, said = PROGRAMS[name]
    refused(altered(tagger(tmp_path), change), said)


TENSORS: dict[str, tuple[dict[str, Any], str]] = {
    "a pickle": ({"use_pickle": True}, "tensor head.weight: is a pickle (data/weights/weight_9), which is not opened"),
    "a climbing path": ({"path_name": "../../evil"}, "tensor head.weight: path_name: expected one like weight_0"),
    "a path that is not there": ({"path_name": "weight_99"}, "has no data/weights/weight_99"),
    "the bytes of another": ({"path_name": "weight_10"}, "sizes [3, 8] need 24 numbers, its data has 3"),
    "no description": ({"tensor_meta": None}, "expected tensor_meta, a mapping"),
}
META: dict[str, tuple[dict[str, Any], str]] = {
    "a shape that is larger": ({"sizes": [{"as_int": 300}, {"as_int": 8}]}, "sizes [300, 8] need 2400 numbers"),
    "a shape that is another": (
        {"sizes": [{"as_int": 2}, {"as_int": 8}]},
        "the program says [3, 8], its data is [2, 8]",
    ),
    "much of a little": (
        {"sizes": [{"as_int": 1 << 30}, {"as_int": 8}], "strides": [{"as_int": 0}, {"as_int": 0}]},
        "sizes [1073741824, 8] need",
    ),
    "an offset beyond the end": ({"storage_offset": {"as_int": 1 << 20}}, "its data has 24"),
    "a size below nothing": ({"sizes": [{"as_int": -3}, {"as_int": 8}]}, "sizes: expected numbers"),
    "complex numbers": ({"dtype": 10}, "expected floats, ints or bools, got torch's type 10"),
    "a sparse tensor": ({"layout": 1}, "expected a plain (strided) tensor"),
    "more axes than numbers": ({"strides": [{"as_int": 1}]}, "2 sizes and 1 strides"),
    "a size that is open": ({"sizes": [{"as_expr": {"expr_str": "s0"}}, {"as_int": 8}]}, "sizes: expected numbers"),
}


@pytest.mark.parametrize("name", [*TENSORS, *META])
def test_a_tensor_that_its_bytes_are_not_is_refused_by_name(name: str, tmp_path: Path) -> None:
    def change(config: Program) -> None:
        one = config["config"]["head.weight"]
        one.update(TENSORS[name][0]) if name in TENSORS else one["tensor_meta"].update(META[name][0])

    refused(altered(tagger(tmp_path), change, WEIGHTS), {**TENSORS, **META}[name][1])


def test_a_pickle_in_place_of_a_weight_is_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    path = tagger(tmp_path)
    parts = members(path)
    harmful = pickle.dumps(Evil())  # as long as the test's folder is deep
    is_as_long = len(harmful) == len(parts["data/weights/weight_9"])
    parts["data/weights/weight_9"] = harmful + bytes(is_as_long)  # else it would be numbers like any others
    parts["data/sample_inputs/model.pt"] = pickle.dumps(Evil())
    refused(written(path, parts), "tensor head.weight: ")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value: float, tmp_path: Path) -> None:
    module = nn.GRU(4, 6, batch_first=True).requires_grad_(False)
    module.bias_hh_l0[2] = value
    refused(exported(module, (torch.randn(3, 7, 4),), tmp_path), "tensor bias_hh_l0: expected finite numbers")


def test_a_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    path = altered(tagger(tmp_path), lambda config: config["config"].pop("head.bias"), WEIGHTS)
    refused(path, "tensor head.bias: the program needs it, and the file does not have it")
    parts = members(tagger(tmp_path))
    del parts["data/weights/weight_3"]
    refused(written(path, parts), "has no data/weights/weight_3")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:evil", "a\\evil"])
def test_a_name_that_leads_out_of_the_archive_is_refused(name: str, tmp_path: Path) -> None:
    path = tagger(tmp_path)
    with zipfile.ZipFile(path, "a") as archived:
        archived.writestr(name, b"")
    refused(path, "a name that leads out of the archive")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_part_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tagger(tmp_path)
    with zipfile.ZipFile(path, "a") as archived:
        archived.writestr(f"{archived.namelist()[0].partition('/')[0]}/models/model.json", b"{}")
    refused(path, "stands twice in the archive")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tagger(tmp_path)
    parts = members(path) | {"models/model.json": b" " * (1 << 25)}
    refused(written(path, parts, zipfile.ZIP_DEFLATED), "models/model.json: 33554432 bytes in", "a zip bomb")


def test_parts_larger_than_allowed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tagger(tmp_path)
    monkeypatch.setattr(archive, "MAX_TENSOR_BYTES", 2000)
    refused(path, "data/weights/weight_2: expected at most ")
    monkeypatch.setattr(archive, "MAX_JSON_BYTES", 2000)
    refused(path, "models/model.json: expected at most 2000 bytes")


def test_tensors_that_share_their_bytes_are_not_more_than_allowed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def share(config: Program) -> None:
        config["config"] |= {f"copy{number}": config["config"]["head.weight"] for number in range(100)}

    path = altered(tagger(tmp_path), share, WEIGHTS)
    monkeypatch.setattr(archive, "MAX_TENSOR_BYTES", 12_000)
    refused(path, "tensor copy", "with it more than 12000 bytes")


def test_a_view_that_can_be_read_in_very_many_ways_is_refused_before_they_are_tried(tmp_path: Path) -> None:
    class Viewed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0].repeat(1, 1, 6).view(6, 6)

    def widen(program: Program) -> None:
        argument(program, "repeat", "repeats").update(arg={"as_ints": [1, 1, 6**11]})
        argument(program, "view", "size").update(arg={"as_ints": [6] * 12})
        del _values(program)["repeat"], _values(program)["view"]

    path = altered(exported(Viewed(), (torch.randn(3, 2, 4),), tmp_path), widen)
    refused(path, "node view (aten.view.default)", "could be the length or the batch, or a size of the network")


def test_the_files_own_numbers_are_not_put_together_over_and_over(tmp_path: Path) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.scale = nn.GRU(4, 5), nn.Parameter(torch.randn(5000))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0] * torch.cat([self.scale, self.scale]).sum()

    def double(program: Program) -> None:
        (at,) = [number for number, one in enumerate(nodes(program)) if one["target"].startswith("torch.ops.aten.cat")]
        text, more = json.dumps(nodes(program)[at]), []
        for number in range(38):
            made = text.replace('"cat"', f'"cat{number}"').replace("p_scale", f"cat{number - 1}" if number else "cat")
            more.append(json.loads(made))
        after = json.dumps(nodes(program)[at + 1 :]).replace('"name": "cat"', '"name": "cat37"')
        nodes(program)[at + 1 :] = [*more, *json.loads(after)]

    path = altered(exported(Joined(), (torch.randn(19, 17, 4),), tmp_path), double)
    refused(path, "(aten.cat.default), test_from_pt2_refused.py, line ", "numbers; expected at most 4194304")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "models/model.json: is not JSON"),
        (b"[]", "expected a mapping, got list"),
        (b"\xff\xfe{", "is not JSON"),
        (b'{"a":' * 200_000, "is not JSON"),
        (b"[" * 1_000_000, "is not JSON"),
        (b'{"schema_version": 8}', "schema_version: expected a mapping, got 8"),
        (b'{"schema_version": {}, "schema_version": {}}', "'schema_version' stands twice"),
        (b'{"n": ' + b"9" * 10_000 + b"}", "is not JSON"),
    ],
)
def test_json_that_is_none_or_nested_without_end_is_refused(text: bytes, said: str, tmp_path: Path) -> None:
    path = tagger(tmp_path)
    refused(written(path, members(path) | {"models/model.json": text}), said)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "has no models/NAME.json"),
        ({"serialized_state_dict.pt": b""}, "of an older torch, whose weights are a pickle, which is not opened"),
        ({"data/aotinductor/model/x.so": b""}, "holds a compiled model (AOTInductor), which is code"),
        ({"models/a.json": b"{}", "models/b.json": b"{}"}, "holds several models: a, b; expected one"),
        ({"byteorder": b"big", "models/a.json": b"{}"}, "byteorder: expected little, got 'big'"),
    ],
)
def test_an_archive_of_another_kind_is_refused_saying_what_it_is(
    parts: dict[str, bytes], said: str, tmp_path: Path
) -> None:
    refused(written(tmp_path / "made.pt2", parts), said)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.pt2"
    refused(path, "no such file")
    path.write_bytes(b"PK\x03\x04 and then nothing")
    refused(path, "is not a .pt2 file, or damaged")


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9, 0.999])
def test_a_file_cut_anywhere_is_refused(at: float, tmp_path: Path) -> None:
    path = tagger(tmp_path)
    path.write_bytes(path.read_bytes()[: int(at * path.stat().st_size)])
    refused(path)


def test_a_recurrence_that_was_taken_apart_is_refused_saying_what_to_save(tmp_path: Path) -> None:
    path = exported(Tagger(), (torch.randint(11, (3, 7)),), tmp_path, is_taken_apart=True)
    refused(path, "a step of torch.nn.LSTM, which was taken apart", "before run_decompositions()")


def test_cells_are_refused_naming_pack_step(tmp_path: Path) -> None:
    path = exported(nn.GRUCell(4, 6), (torch.randn(3, 4), torch.randn(3, 6)), tmp_path)
    refused(path, "node gru_cell (aten.gru_cell.default)", "elman_models.pack_step")


def test_sizes_that_are_all_fixed_without_a_recurrence_are_refused(tmp_path: Path) -> None:
    path = exported(nn.Linear(4, 6), (torch.randn(3, 7, 4),), tmp_path)
    refused(path, "there is no recurrence to tell which is the length", "Dim.AUTO")


def test_an_example_of_one_step_is_refused(tmp_path: Path) -> None:
    refused(exported(nn.GRU(4, 6), (torch.randn(1, 3, 4),), tmp_path), "exported for sequences of one step")


@pytest.mark.parametrize(("of", "step"), [(lambda time: time - 1, 6), (lambda time: time // 2, 3)])
def test_a_step_that_may_be_computed_from_the_length_or_be_one_by_its_number_is_refused(
    of: Callable[[int], int], step: int, tmp_path: Path
) -> None:
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(4, 6, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0][:, of(x.shape[1])]

    path = exported(Step(), (torch.randn(3, 7, 4),), tmp_path)
    refused(path, f"index {step}, of 7: counted from the first step, or computed from the length?", "the last (-1)")


def test_a_length_and_a_batch_that_are_the_same_are_refused_only_where_that_matters(tmp_path: Path) -> None:
    class Viewed(nn.Module):
        def __init__(self, is_divided: bool) -> None:
            super().__init__()
            self.rnn, self.is_divided = nn.GRU(4, 6), is_divided

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, _ = self.rnn(x)
            return y.reshape(-1, 6).view(x.shape[0], x.shape[1], 6) if self.is_divided else y.view(-1, 6)

    refused(exported(Viewed(True), (torch.randn(5, 5, 4),), tmp_path), "could be the length or the batch")
    path = exported(Viewed(False), (torch.randn(5, 5, 4),), tmp_path)
    assert pack_pt2(path, out=tmp_path / "m", name="m", quiet=True).differences.largest <= 1e-5


def test_attention_and_what_is_picked_by_number_are_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.attention = nn.GRU(4, 6), nn.MultiheadAttention(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, _ = self.rnn(x)
            return y + self.attention(y, y, y)[0]

    class Picking(Attending):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, _ = self.rnn(x)
            return y.gather(-1, y.argmax(-1, keepdim=True))

    path = exported(Attending(), (torch.randn(7, 5, 4),), tmp_path)
    refused(path, "MultiheadAttention has its heads. Instead: give the module, elman_models.pack(module")
    refused(exported(Picking(), (torch.randn(7, 5, 4),), tmp_path), "node gather", "give the module")


JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3,
    1 << 40,
    1.5,
    "x",
    [],
    {},
    {"as_int": 7},
    {"name": "x"},
    [1, 2],
    "Infinity",
)


def _places(given: Any) -> list[tuple[Any, Any]]:
    """Every mapping and list in a JSON with each key."""
    keys = list(given) if isinstance(given, dict) else list(range(len(given))) if isinstance(given, list) else []
    return [(given, key) for key in keys] + [place for key in keys for place in _places(given[key])]


@pytest.mark.parametrize("seed", range(40))
def test_json_with_anything_anywhere_is_refused_or_means_the_same(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    path = tagger(tmp_path)
    parts = members(path)
    member = chance.choice(["models/model.json", "models/model.json", WEIGHTS])
    given = json.loads(parts[member])
    holder, key = chance.choice(_places(given))
    holder[key] = chance.choice(JUNK)
    written(path, parts | {member: json.dumps(given).encode()})
    try:
        made = pack_pt2(path, out=tmp_path / "m", name="m", quiet=True)
    except ExportError as error:
        assert str(path) in str(error)  # noqa: PT017 - most are refused, some change nothing that is read
    else:
        assert made.differences.largest <= 1e-5
