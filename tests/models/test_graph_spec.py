"""A graph that contradicts itself is refused by name, before any weight is loaded."""

from typing import Any

import pytest
import yaml
from graph_networks import floats, graph, ids, node, recurrence, states

from elman_models import SpecError
from elman_models.graph.spec import GraphSpec
from elman_models.spec_file import dump_spec, make_graph, parse_any_spec, parse_spec

HEAD = node("linear", "head", "x", weights="weight", out_features=3)
X = [floats("x", 4)]
GRU = recurrence("gru", "rnn", "x", 5)
STEP = {"kind": "step", "inputs": X}
H = floats("h", 4) | {"next": "y"}


def fields(nodes: list[dict[str, Any]], output: str = "head", **more: Any) -> dict[str, Any]:
    return {"name": "m", "inputs": X, "nodes": nodes, "outputs": [{"name": "output", "value": output}]} | more


def a_cycle() -> dict[str, Any]:
    return fields([node("add", "a", "x", "c"), node("relu", "b", "a"), node("relu", "c", "b")], "c")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "cycle": (a_cycle(), r"nodes\.a: a cycle: a <- c <- b <- a"),
    "own input": (fields([node("relu", "a", "a")], "a"), r"nodes\.a: a cycle: a <- a"),
    "order": (fields([node("relu", "a", "head"), HEAD], "a"), r"nodes\.a: its input head stands after it"),
    "name twice": (fields([HEAD, HEAD]), r"nodes\.head: a name used twice, also in nodes"),
    "name of an input": (fields([HEAD | {"name": "x"}], "x"), r"nodes\.x: a name used twice, also in inputs"),
    "output twice": (
        fields([HEAD], outputs=[{"name": "o", "value": "head"}] * 2),
        r"outputs\.o: a name used twice",
    ),
    "no such operation": (fields([HEAD | {"op": "exec"}]), r"nodes\.head \(exec\): no operation is called 'exec'"),
    "no such value": (fields([HEAD | {"inputs": ["z"]}]), r"nodes\.head .*input z: there is no such input"),
    "no such result": (fields([HEAD | {"inputs": ["x:1"]}]), r"x has no result '1'"),
    "no such output": (fields([HEAD], "tail"), r"outputs\.output: input tail: there is no such"),
    "missing weight": (fields([HEAD | {"weights": {}}]), r"weights: missing weight; known are weight, bias"),
    "unknown weight": (
        fields([HEAD | {"weights": {"weight": "w", "gain": "g"}}]),
        r"weights: unknown gain; known are weight, bias",
    ),
    "one tensor of two shapes": (
        fields([HEAD, node("linear", "b", "head", out_features=2) | {"weights": HEAD["weights"]}], "b"),
        r"nodes\.b .*tensor head\.weight is float32 \[3, 4\] elsewhere, expected float32 \[2, 3\]",
    ),
    "shapes": (fields([HEAD, node("add", "b", "head", "x")], "b"), r"nodes\.b \(add\): features \[3\] and"),
    "too many inputs": (fields([HEAD | {"inputs": ["x", "x"]}]), r"inputs: expected 1, got 2"),
    "unused input": (fields([HEAD], inputs=[*X, floats("z", 2)]), r"inputs\.z: nobody uses it"),
    "unused context": (fields([HEAD], context=[floats("z", 2)]), r"context\.z: nobody uses it"),
    "unused node": (fields([HEAD, node("relu", "b", "x")]), r"nodes\.b: nobody uses it"),
    "unused state": (fields([HEAD], states=[floats("h", 2)]), r"states\.h: no node carries it"),
    "no state": (fields([GRU], "rnn"), r"states: there is no state rnn\.h"),
    "state of another shape": (
        fields([GRU], "rnn", states=states("gru", "rnn", 6)),
        r"states: rnn\.h: expected float32 features \[5\] and layers 1, got float32 \[6\] and 1",
    ),
    "state twice": (
        fields(
            [GRU, recurrence("gru", "two", "rnn", 5) | {"states": {"h": "rnn.h"}}],
            "two",
            states=states("gru", "rnn", 5),
        ),
        r"nodes\.two .*rnn\.h is already carried by rnn",
    ),
    "state as a value": (
        fields([GRU, node("add", "b", "rnn", "rnn.h")], "b", states=states("gru", "rnn", 5)),
        r"input rnn\.h: a node carries that state",
    ),
    "next of another shape": (
        fields([node("add", "y", "x", "h"), HEAD | {"inputs": ["y"]}], **STEP, states=[H | {"next": "head"}]),
        r"states\.h: expected next of float32 \[4\], got float32 \[3\] per step",
    ),
    "next per row": (
        fields(
            [node("add", "y", "x", "h"), node("each_step", "e", "z"), node("add", "s", "y", "e")],
            "s",
            **STEP,
            context=[floats("z", 4)],
            states=[H | {"next": "z"}],
        ),
        r"states\.h: expected next per step, got float32 \[4\] per row",
    ),
    "next in a streaming graph": (
        fields([node("add", "y", "x", "h")], "y", states=[H]),
        r"kind: streaming, but a state has a `next`",
    ),
    "step without a next": (fields([HEAD], kind="step"), r"kind: step, but no state has a `next`"),
    "ids without a bound": (
        fields(
            [node("embedding", "e", "x", weights="weight", num_embeddings=5, embedding_dim=2)],
            "e",
            inputs=[{"name": "x", "dtype": "int64"}],
        ),
        r"nodes\.e .*expected ids known to be in \[0, 5\)",
    ),
    "ids beyond the table": (
        fields(
            [node("embedding", "e", "x", weights="weight", num_embeddings=5, embedding_dim=2)],
            "e",
            inputs=[ids("x", 6)],
        ),
        r"nodes\.e .*expected ids in \[0, 5\), but they may be up to 5",
    ),
    "ids of floats": (fields([HEAD], inputs=[floats("x", 4) | {"num_embeddings": 3}]), "num_embeddings is of int64"),
    "looks ahead": (fields([node("time_flip", "f", "x")], "f"), r"nodes\.f \(time_flip\): looks ahead in time"),
    "bidirectional": (
        fields([recurrence("gru", "rnn", "x", 5, bidirectional=True)], "rnn"),
        r"nodes\.rnn \(gru\): looks ahead in time|nodes\.rnn \(gru\): states: expected",
    ),
    "end of a sequence": (
        fields([GRU, node("select", "b", "rnn:h_n", axis=0, index=0)], "b", states=states("gru", "rnn", 5)),
        r"input rnn:h_n: is known at the end of a sequence",
    ),
    "output of bools": (fields([node("gt", "b", "x", value=0.0)], "b"), r"outputs\.output: expected float32 or int64"),
    "output of a constant": (
        fields([HEAD, node("constant", "c", weights="value", features=[2])], "c"),
        r"outputs\.output: expected .* got float32 \[2\] per model",
    ),
    "a value too large": (
        fields([node("expand", "b", "x", features=[1 << 20, 1 << 20, 4])], "b"),
        r"result .*, in numbers: expected at most 4194304, got",
    ),
    "many values that are large together": (
        fields(
            [
                node("expand", "w0", "x", features=[1 << 20, 4]),
                *(node("relu", f"w{n + 1}", f"w{n}") for n in range(16)),
            ],
            "w16",
        ),
        r"all values of a step, in numbers: expected at most 67108864, got 71303172",
    ),
    "an overflow": (
        fields([node("expand", "b", "x", features=[1 << 20] * 7 + [4])], "b"),
        r"in numbers: expected at most 4194304, got",
    ),
    "weights too large": (
        fields(
            [
                node("linear", "a", "x", weights="weight", out_features=1 << 20),
                *(node("linear", f"n{i}", "a", weights="weight", out_features=1 << 10) for i in range(5)),
                node("concat", "b", *(f"n{i}" for i in range(5))),
            ],
            "b",
        ),
        r"tensors, in bytes: expected at most 17179869184, got",
    ),
    "a state too large": (
        fields(
            [
                node("add", "y", "s", "x"),
                HEAD | {"inputs": ["y"]},
                *(node("add", f"n{i}", f"h{i}", "x") for i in range(20)),
            ],
            **STEP,
            states=[
                floats("s", 4) | {"next": "y"},
                *(floats(f"h{i}", 1 << 18, 4) | {"next": f"n{i}"} for i in range(20)),
            ],
        ),
        r"a session's state, in numbers: expected at most 16777216, got",
    ),
    "whole, no recurrence": (
        fields([HEAD | {"states": {"h": "h"}}], kind="whole", states=[floats("h", 3)]),
        r"nodes\.head .*states: in a whole graph they are what a recurrence ends with, and this is none",
    ),
    "whole, c alone": (
        fields(
            [recurrence("lstm", "rnn", "x", 5) | {"states": {"c": "rnn.c"}}],
            "rnn",
            kind="whole",
            states=states("lstm", "rnn", 5)[1:],
        ),
        r"nodes\.rnn .*states: expected h, c, got c",
    ),
    "whole, two beginnings": (
        fields(
            [GRU, recurrence("gru", "top", "x", 5) | {"inputs": ["x", "rnn:h_n"]}],
            "top",
            kind="whole",
            states=[*states("gru", "rnn", 5), *states("gru", "top", 5, initial={"h": "begin"})],
        ),
        r"nodes\.top .*states: top\.h: begins at an input of the node, and has an `initial`, too",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_graph_that_contradicts_itself_is_refused_by_name(what: str) -> None:
    given, message = BAD[what]
    with pytest.raises(SpecError, match=message):
        make_graph(given, "model.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "format: expected 1 or 2, got 3"),
        ({"format": "2"}, "format: expected 1 or 2, got '2'"),
        ({"format": True}, "format: expected 1 or 2, got True"),
        ({"cell": "lstm"}, "cell: unknown key; known are format, name"),
        ({"nodes": None}, "nodes: "),
        ({"inputs": []}, "inputs: "),
        ({"kind": "sideways"}, "kind: "),
        ({"name": "../up"}, "name: expected 1 to 128 letters"),
        ({"nodes": [HEAD | {"name": "a b"}]}, r"nodes\.0\.name: "),
        ({"nodes": [HEAD | {"weights": {"weight": "../../etc/passwd"}}]}, r"nodes\.0\.weights\.weight: "),
        ({"nodes": [HEAD | {"parameters": {"out_features": [[1]]}}]}, r"nodes\.0\.parameters\.out_features"),
        ({"nodes": [HEAD | {"code": "import os"}]}, r"nodes\.0\.code: unknown key"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    text = dump_fields({"format": 2} | fields([HEAD]) | change)
    with pytest.raises(SpecError, match=f"model.yaml: {message}"):
        parse_any_spec(text, "model.yaml")


def dump_fields(given: dict[str, Any]) -> bytes:
    return yaml.safe_dump(given, sort_keys=False).encode()


@pytest.mark.parametrize("opened", ["[", "{a: "])
def test_yaml_of_enormous_depth_is_refused(opened: str) -> None:
    text = b"format: 2\nname: m\nnodes: " + opened.encode() * 50_000
    with pytest.raises(SpecError, match=r"model\.yaml: cannot be read as YAML"):
        parse_any_spec(text, "model.yaml")


def test_yaml_of_aliases_that_grow_without_bound_is_refused() -> None:
    lines = ["format: 2", "name: m", "metadata: {}", "a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    with pytest.raises(SpecError, match="a0: unknown key"):
        parse_any_spec("\n".join([*lines, "nodes: *a39"]).encode(), "model.yaml")


def test_what_aliases_make_large_is_cut_off_in_what_is_said() -> None:
    lines = ["format: 2", "name: m", "a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    with pytest.raises(SpecError, match="and 31 faults more") as caught:
        parse_any_spec("\n".join([*lines, "nodes: *a39"]).encode(), "model.yaml")
    assert len(str(caught.value)) < 8000


def test_a_file_of_format_2_is_refused_where_a_stack_is_expected() -> None:
    text = dump_spec(make_graph(fields([HEAD]), "m"))
    with pytest.raises(SpecError, match="format: expected 1, a stack"):
        parse_spec(text, "model.yaml")


def test_format_1_may_say_so() -> None:
    text = b"format: 1\nname: m\ncell: gru\ninput_size: 3\nhidden_size: 4\n"
    assert parse_spec(text, "model.yaml") == parse_any_spec(text.replace(b"format: 1\n", b""), "model.yaml")


def test_tied_weights_are_one_tensor() -> None:
    tied: GraphSpec = graph(
        [
            node("embedding", "embed", "x", weights="weight", num_embeddings=7, embedding_dim=3),
            node("linear", "head", "embed", out_features=7) | {"weights": {"weight": "embed.weight"}},
        ],
        {"output": "head"},
        inputs=[ids("x", 7)],
    )
    assert tied.parameter_shapes() == {"embed.weight": (7, 3)}
