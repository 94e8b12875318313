"""`elman-server sessions`: lists, describes, exports, imports and ends a running server's sessions."""

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elman_server.cli.command import fail, say
from elman_server.cli.table import readable, table
from elman_server.config.server_config import ConnectionConfig
from elman_server.config.settings import add_options

if TYPE_CHECKING:
    from elman_server.cli.command import Commands
    from elman_server.cli.connection import Connection

HEADER = ("SESSION", "VERSION", "POSITION", "QUEUED", "CREATED", "LAST USED", "EXPIRES")
PAGE_SIZE = 1000


def add(commands: "Commands") -> None:
    """Adds the command with its own."""
    parser = commands.add_parser("sessions", help="list, describe, export, import or end a running server's sessions")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add(actions, "list", "list a model's sessions", _list)
    described = _add(actions, "describe", "describe one session", _describe)
    described.add_argument("session_id", metavar="ID", help="the session's id")
    exported = _add(
        actions, "export", "write sessions to a file, to import them into another server; they go on", _export
    )
    exported.add_argument("session_ids", metavar="ID", nargs="*", help="the sessions' ids")
    exported.add_argument("--all", action="store_true", help="all of the model's sessions (default: those named)")
    exported.add_argument("--out", metavar="FILE", required=True, help="the file, which must not exist; required")
    imported = _add(
        actions, "import", "begin sessions where those of a file were, under the ids that they had", _import
    )
    imported.add_argument("file", metavar="FILE", help="what `sessions export` wrote")
    ended = _add(actions, "end", "end sessions: steps admitted before run first, then their slots are free", _end)
    ended.add_argument("session_ids", metavar="ID", nargs="*", help="the sessions' ids")
    ended.add_argument("--all", action="store_true", help="all of the model's sessions (default: those named)")


def _add(actions: "Commands", name: str, text: str, command: Any) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
    parser.add_argument("model", metavar="MODEL", help="the model's name")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for scripts (default: text)")
    add_options(parser, ConnectionConfig)
    parser.set_defaults(run=lambda given: _run(command, given))
    return parser


def _run(command: Any, given: argparse.Namespace) -> int:
    from elman_server.cli.connection import connected  # gRPC takes a while to import: --help does not wait for it

    return connected(command)(given)


def _list(connection: "Connection", given: argparse.Namespace) -> int:
    for number, page in enumerate(_pages(connection, given.model)):
        if given.json:
            for session in page:
                say(json.dumps(_fields(session), ensure_ascii=False))
        else:
            text = table(HEADER, [_row(session) for session in page])
            say(text if number == 0 else text.partition("\n")[2])
    return 0


def _describe(connection: "Connection", given: argparse.Namespace) -> int:
    from elman.v1 import sessions_pb2

    request = sessions_pb2.DescribeSessionRequest(model=given.model, session_id=given.session_id)
    session = connection.call(_stub(connection).DescribeSession, request).session
    if given.json:
        say(json.dumps(_fields(session), ensure_ascii=False))
    else:
        fields = {name: "never" if value is None else value for name, value in _fields(session).items()}
        say("\n".join(f"{name:12}{readable(value)}" for name, value in fields.items()))
    return 0


def _export(connection: "Connection", given: argparse.Namespace) -> int:
    from elman_server.cli.session_files import SessionFileError, write_sessions

    ids = list(dict.fromkeys(given.session_ids))
    if bool(ids) == given.all:
        return fail("sessions export: expected the ids of the sessions, or --all", 2)
    if given.all:
        ids = [session.session_id for page in _pages(connection, given.model) for session in page]
        if not ids:
            return fail(f"model {given.model!r} has no sessions; {given.out} is not written")
    try:
        errors = write_sessions(connection, given.model, ids, given.out)
    except SessionFileError as error:
        return fail(str(error))
    return _tell(given, ids, errors, f"written to {given.out}")


def _import(connection: "Connection", given: argparse.Namespace) -> int:
    from elman_server.cli.session_files import SessionFileError, import_sessions, read_sessions

    try:
        exported = read_sessions(given.file)
    except SessionFileError as error:
        return fail(str(error))
    ids, errors = import_sessions(connection, given.model, exported)
    return _tell(given, ids, errors, "imported")


def _tell(given: argparse.Namespace, ids: Sequence[str], errors: dict[str, str], done: str) -> int:
    for session_id in ids:
        if session_id in errors:
            fail(errors[session_id])
        elif given.json:
            say(json.dumps({"session_id": session_id}, ensure_ascii=False))
        else:
            say(f"{readable(session_id)} {done}")
    return int(bool(errors))


def _end(connection: "Connection", given: argparse.Namespace) -> int:
    ids = list(dict.fromkeys(given.session_ids))
    if bool(ids) == given.all:
        return fail("sessions end: expected the ids of the sessions, or --all", 2)
    if given.all:
        ids = [session.session_id for page in _pages(connection, given.model) for session in page]
    failed = False
    for first in range(0, len(ids), PAGE_SIZE):
        failed |= _end_some(connection, given, ids[first : first + PAGE_SIZE])
    return int(failed)


def _end_some(connection: "Connection", given: argparse.Namespace, ids: Sequence[str]) -> bool:
    from elman.v1 import sessions_pb2

    request = sessions_pb2.CloseSessionsRequest(model=given.model, session_ids=ids)
    response = connection.call(_stub(connection).CloseSessions, request)
    errors = {error.index: error.status.message for error in response.errors}
    for index, (session_id, position) in enumerate(zip(ids, response.positions, strict=True)):
        if index in errors:
            if not given.all:
                fail(errors[index])
        elif given.json:
            say(json.dumps({"session_id": session_id, "position": position}, ensure_ascii=False))
        else:
            say(f"{readable(session_id)} ended at position {position}")
    return bool(errors) and not given.all  # one that went by itself meanwhile is gone, as asked


def _pages(connection: "Connection", model: str) -> Iterator[Sequence[Any]]:
    from elman.v1 import sessions_pb2

    stub, token = _stub(connection), ""
    while True:
        request = sessions_pb2.ListSessionsRequest(model=model, page_size=PAGE_SIZE, page_token=token)
        page = connection.call(stub.ListSessions, request)
        yield page.sessions
        token = page.next_page_token
        if not token:
            return


def _stub(connection: "Connection") -> Any:
    from elman.v1 import sessions_pb2_grpc

    return sessions_pb2_grpc.SessionsStub(connection.channel)


def _row(session: Any) -> tuple[object, ...]:
    fields = _fields(session)
    times = (str(fields[name] or "never") for name in ("create_time", "use_time", "expire_time"))
    return session.session_id, session.version, session.position, session.admitted - session.position, *times


def _fields(session: Any) -> dict[str, object]:
    names = ("model", "version", "session_id", "position", "admitted")
    fields: dict[str, object] = {name: getattr(session, name) for name in names}
    for name in ("create_time", "use_time", "expire_time"):
        fields[name] = _time(getattr(session, name)) if session.HasField(name) else None
    return fields


def _time(stamp: Any) -> str:
    return datetime.fromtimestamp(stamp.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
