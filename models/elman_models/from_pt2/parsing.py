"""The JSON of a .pt2 file as records, checked by name before anything is made of it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from elman_models.export.refusals import ExportError
from elman_models.from_onnx.module import output_name
from elman_models.from_pt2.operations import RECURRENCES
from elman_models.from_pt2.program import Program, Pt2Node, Ref
from elman_models.from_pt2.values import argument, name_of, only_entry, shape_of, shown
from elman_models.graph.spec import MAX_NODES

SCHEMA = 8
"""The major version of torch's schema that is known here."""
_TENSORS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
_RECURRENT_LAYER = re.compile(r"torch\.nn\.modules\.rnn\.(LSTM|GRU|RNN)(?![A-Za-z])")
_TARGET = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,199}")
_MAX_VALUES = 1 << 17


def parsed(given: Mapping[str, Any]) -> Program:
    """The program of a file.

    Raises:
        ExportError: of another version of the schema, or what it says does not go together; the message names it.
    """
    version = _mapping(given, "schema_version").get("major")
    if version != SCHEMA:
        raise ExportError(f"schema_version: expected {SCHEMA}, got {shown(version)}; export with another torch")
    module = _mapping(given, "graph_module")
    graph, signature = _mapping(module, "graph"), _mapping(module, "signature")
    inputs, constants = _inputs(signature)
    nodes = tuple(_nodes(graph))
    values = _mapping(graph, "tensor_values")
    if len(values) > _MAX_VALUES:
        raise ExportError(f"tensor_values: expected at most {_MAX_VALUES}, got {len(values)}")
    shapes = {str(name): shape_of(one, f"tensor_values: {shown(name)}") for name, one in values.items()}
    program = Program(inputs, constants, nodes, _outputs(signature, module), shapes)
    _check(program)
    return program


def _mapping(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = given.get(key)
    if not isinstance(found, Mapping):
        raise ExportError(f"{key}: expected a mapping, got {shown(found)}")
    return found


def _list(given: Mapping[str, Any], key: str) -> list[Any]:
    found = given.get(key)
    if not isinstance(found, list) or len(found) > MAX_NODES:
        raise ExportError(f"{key}: expected a list of at most {MAX_NODES}, got {shown(found)}")
    return found


def _inputs(signature: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """What a user gives, and by value the tensors of the file."""
    inputs: list[str] = []
    constants: dict[str, str] = {}
    for one in _list(signature, "input_specs"):
        kind, spec = only_entry(one, "input_specs")
        if kind == "constant_input":
            continue  # a number or a flag that the graph was made for, and does not take
        if kind not in ("user_input", *_TENSORS) or not isinstance(spec, Mapping):
            raise ExportError(f"an input of the kind {shown(kind)}, which no graph takes")
        if kind in _TENSORS:
            name = name_of(_mapping(spec, "arg").get("name"), f"input_specs: {kind}")
            constants[name] = str(spec.get(_TENSORS[kind]))
            continue
        given = argument(spec.get("arg"), "input_specs: user_input")
        if given is not None:
            inputs.append(given.name if isinstance(given, Ref) else _no_tensor(given))
    if not inputs:
        raise ExportError("takes no input")
    return tuple(inputs), constants


def _no_tensor(given: object) -> str:
    raise ExportError(f"an input that is no tensor, but {shown(given)}")


def _nodes(graph: Mapping[str, Any]) -> Iterator[Pt2Node]:
    for number, one in enumerate(_list(graph, "nodes")):
        if not isinstance(one, Mapping):
            raise ExportError(f"node {number}: expected a mapping, got {shown(one)}")
        yield _node(one, f"node {number}")


def _node(one: Mapping[str, Any], where: str) -> Pt2Node:
    target = one.get("target")
    if not isinstance(target, str) or not _TARGET.fullmatch(target):
        raise ExportError(f"{where}: target: expected an operation's name, got {shown(target)}")
    told = one.get("metadata")
    metadata: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    line, layers = _line(metadata.get("stack_trace")), str(metadata.get("nn_module_stack") or "")
    outputs, is_list = _results(_list(one, "outputs"), f"{where} ({target})")
    name = one.get("name") or (outputs[0] if outputs else where.replace(" ", "_"))
    bare = Pt2Node(name_of(name, where), target, {}, outputs, is_list, line, layers)
    arguments: dict[str, object] = {}
    for given in _list(one, "inputs"):
        if not isinstance(given, Mapping):
            raise ExportError(f"{bare}: expected arguments with names, got {shown(given)}")
        key = name_of(given.get("name"), f"{bare}: an argument")
        arguments[key] = argument(given.get("arg"), f"{bare}: {key}")
    return Pt2Node(bare.name, target, arguments, outputs, is_list, line, layers)


def _results(given: list[Any], where: str) -> tuple[tuple[str, ...], bool]:
    """Names of what a node gives, and whether that is one list."""
    if len(given) == 1 and only_entry(given[0], where)[0] == "as_tensors":
        listed = argument(given[0], where)
        return tuple(part.name for part in listed if isinstance(part, Ref)), True  # type: ignore[attr-defined]
    found = [argument(one, where) for one in given]
    return tuple(part.name if isinstance(part, Ref) else "" for part in found), False


def _line(trace: object) -> str:
    """The innermost line that is not torch's own, as the file tells it: `model.py, line 12`, and what stands there."""
    found, lines = "", trace.splitlines() if isinstance(trace, str) else []
    for line, code in zip(lines, [*lines[1:], ""], strict=False):
        told = re.match(r'\s*File "([^"]{1,400})", line (\d{1,7})', line)
        if told and not re.search(r"(^|[/\\])torch[/\\]", told[1]):
            name = re.split(r"[/\\]", told[1])[-1]
            said = "" if code.strip().startswith("File ") else code.strip()[:120]
            found = f"{name}, line {told[2]}" + (f", `{said}`" if said else "")
    return found if found.isprintable() else ascii(found)


def _outputs(signature: Mapping[str, Any], module: Mapping[str, Any]) -> dict[str, Ref]:
    refs: list[object] = []
    for one in _list(signature, "output_specs"):
        kind, spec = only_entry(one, "output_specs")
        if kind != "user_output" or not isinstance(spec, Mapping):
            words = "changes a buffer or an input when it runs" if "mutation" in kind else f"an output {shown(kind)}"
            raise ExportError(f"{words}, which no graph does; keep such a state as an argument and a result")
        refs.append(argument(spec.get("arg"), "output_specs"))
    names = _output_names(module, len(refs))
    found = {name: ref for name, ref in zip(names, refs, strict=True) if isinstance(ref, Ref)}
    if not found:
        raise ExportError("gives no tensor")
    return found


def _output_names(module: Mapping[str, Any], number: int) -> list[str]:
    """As the tree of what `forward` gives has them, if it is told; else by number."""
    names = list(_leaves(_tree(module), "output", 0))
    plain = [output_name(name) for name in names]
    if len(plain) != number or len(set(plain)) < number:
        return ["output"] if number == 1 else [f"output_{index}" for index in range(number)]
    return plain


def _tree(module: Mapping[str, Any]) -> object:
    try:
        told = json.loads(module["module_call_graph"][0]["signature"]["out_spec"])
        return told[1]
    except (LookupError, TypeError, ValueError, RecursionError):
        return None


def _leaves(tree: object, name: str, depth: int) -> Iterator[str]:
    if not isinstance(tree, Mapping) or depth > 8:
        return
    children = tree.get("children_spec")
    children = children if isinstance(children, list) else []
    if tree.get("type") is None:
        yield name
        return
    try:
        keys = json.loads(str(tree.get("context")))
    except (ValueError, RecursionError):
        keys = None
    if not isinstance(keys, list) or len(keys) != len(children) or "dict" not in str(tree.get("type")):
        keys = [f"{name}_{index}" for index in range(len(children))]
    for key, child in zip(keys, children, strict=True):
        yield from _leaves(child, str(key), depth + 1)


def _check(program: Program) -> None:
    """Each value is made once, before it is used."""
    known = {*program.inputs, *program.constants}
    for name in program.inputs:
        if name not in program.shapes:
            raise ExportError(f"input {name}: has no shape")
    for node in program.nodes:
        for ref in node.refs():
            if ref.name not in known:
                raise ExportError(f"{node}: takes {ref.name}, which is made by nothing before it")
        for name in filter(None, node.outputs):
            if name in known:
                raise ExportError(f"{node}: gives {name}, which is there already")
            known.add(name)
    for name, ref in program.outputs.items():
        if ref.name not in known:
            raise ExportError(f"output {name}: {ref.name} is made by nothing")
    _check_recurrences(program)


def _check_recurrences(program: Program) -> None:
    """Steps of a recurrence in place of it are no sequence of any length."""
    if any(node.op in RECURRENCES for node in program.nodes):
        return
    for node in program.nodes:
        told = _RECURRENT_LAYER.search(node.layers)
        if told:
            raise ExportError(
                f"{node}: a step of torch.nn.{told[1]}, which was taken apart for one length. "
                "Instead: torch.export.save of the program before run_decompositions()"
            )
        if node.op.endswith("_cell"):
            raise ExportError(
                f"{node}: a single step of a cell, in a loop or for one step. Instead: give the module, one time step "
                "with its state: elman_models.pack_step"
            )
