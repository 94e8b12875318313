"""`elman-server models`: lists, loads and unloads a running server's models."""

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from elman_server.cli.command import say
from elman_server.cli.table import table
from elman_server.config.server_config import ConnectionConfig, LoadingConfig
from elman_server.config.settings import add_options

if TYPE_CHECKING:
    from elman_server.cli.command import Commands
    from elman_server.cli.connection import Connection

HEADER = ("NAME", "VERSION", "CELL", "LAYERS", "HIDDEN", "INPUT", "OUTPUT", "WEIGHTS BYTES", "MAX SESSIONS", "DEVICE")


def add(commands: "Commands") -> None:
    """Adds the command with its own."""
    parser = commands.add_parser("models", help="list, load or unload a running server's models")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add(actions, "list", "list the loaded models", _list)
    text = "load a model from the server's model folder, all its versions there unless one is named"
    loading = _add(actions, "load", text, _load, LoadingConfig)
    text = "move all sessions of the model's other versions to the one loaded, with their states (default: they stay)"
    loading.add_argument("--adopt-sessions", action="store_true", help=text)
    text = "unload a model: steps under way are answered, its sessions end"
    _add(actions, "unload", text, _unload, LoadingConfig)


def _add(
    actions: "Commands", name: str, text: str, command: Any, config: type[ConnectionConfig] = ConnectionConfig
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
    if config is LoadingConfig:
        parser.add_argument("model", metavar="MODEL", help="the model's name")
        parser.add_argument("--version", default="", help="the model's version (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for scripts (default: text)")
    add_options(parser, config)
    parser.set_defaults(run=lambda given: _run(command, given, config))
    return parser


def _run(command: Any, given: argparse.Namespace, config: type[ConnectionConfig]) -> int:
    from elman_server.cli.connection import connected  # gRPC takes a while to import: --help does not wait for it

    return connected(command, config)(given)


def _list(connection: "Connection", given: argparse.Namespace) -> int:
    from elman.v1 import models_pb2

    stub, found, token = _stub(connection), [], ""
    while True:
        page = connection.call(stub.ListModels, models_pb2.ListModelsRequest(page_size=1000, page_token=token))
        found += page.models
        token = page.next_page_token
        if not token:
            return _show(found, given.json)


def _load(connection: "Connection", given: argparse.Namespace) -> int:
    from elman.v1 import models_pb2

    request = models_pb2.LoadModelRequest(model=given.model, version=given.version, adopt_sessions=given.adopt_sessions)
    loaded = connection.call(_stub(connection).LoadModel, request)
    code = _show(loaded.models, given.json, "loaded")
    if given.adopt_sessions and not given.json:
        say(f"{loaded.adopted} sessions moved, {loaded.left} stayed where they were")
    return code


def _unload(connection: "Connection", given: argparse.Namespace) -> int:
    from elman.v1 import models_pb2

    request = models_pb2.UnloadModelRequest(model=given.model, version=given.version)
    return _show(connection.call(_stub(connection).UnloadModel, request).models, given.json, "unloaded")


def _stub(connection: "Connection") -> Any:
    from elman.v1 import models_pb2_grpc

    return models_pb2_grpc.ModelsStub(connection.channel)


def _show(messages: Iterable[Any], as_json: bool, done: str = "") -> int:
    from elman import ModelInfo

    infos = [ModelInfo.from_proto(message) for message in messages]
    if as_json:
        for info in infos:
            say(json.dumps(_fields(info), ensure_ascii=False))
    elif done:
        for info in infos:
            say(f"{done} {info.name} {info.version}")
    else:
        say(table(HEADER, [_row(info) for info in infos]))
    return 0


def _row(info: Any) -> tuple[object, ...]:
    both = " both ways" * info.bidirectional
    if info.cell is None:
        takes, gives = _features(info.inputs), _features(info.outputs)
    else:
        takes, gives = "ids" if info.takes_tokens else str(info.input_size), str(info.output_size)
    return (
        *(info.name, info.version, f"{info.cell or 'graph'}{both}", info.num_layers, info.hidden_size),
        *(takes, gives, info.weights_bytes, info.max_sessions, info.device),
    )


def _features(tensors: Iterable[Any]) -> str:
    return ",".join(f"{one.name}{list(one.features)}".replace(" ", "") for one in tensors)


def _fields(info: Any) -> dict[str, object]:
    fields = asdict(info)
    for kind in ("inputs", "context", "states", "outputs"):  # in words, not in the contract's numbers
        fields[kind] = [_in_words(asdict(one), one) for one in getattr(info, kind)]
    for end in ("input", "output"):
        del fields[f"{end}_wire_dtype"]
        tensors = getattr(info, f"{end}s")
        fields[f"{end}_dtype"] = str(tensors[0].dtype) if len(tensors) == 1 else None
    return fields


def _in_words(fields: dict[str, object], tensor: Any) -> dict[str, object]:
    del fields["wire_dtype"]
    return fields | {"dtype": str(tensor.dtype)}
