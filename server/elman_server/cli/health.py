"""`elman-server health`: asks a running server for its health."""

import argparse
from typing import TYPE_CHECKING, Any

from elman_server.cli.command import say
from elman_server.config.server_config import HealthConfig
from elman_server.config.settings import add_options

if TYPE_CHECKING:
    from elman_server.cli.command import Commands
    from elman_server.cli.connection import Connection


def add(commands: "Commands") -> None:
    """Adds the command with its options."""
    text = "ask a running server for its health"
    parser = commands.add_parser("health", help=text, description="Exit code 0 if the answer is SERVING, else 1.")
    parser.add_argument("--model", default="", metavar="NAME", help="one model's (default: the server's)")
    add_options(parser, HealthConfig, {"target": "--address", "timeout_seconds": "--timeout"})
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    from elman_server.cli.connection import connected  # gRPC takes a while to import: --help does not wait for it

    return connected(_ask, HealthConfig)(given)


def _ask(connection: "Connection", given: argparse.Namespace) -> int:
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    try:
        stub: Any = HealthStub(connection.channel)
        answer = connection.call(stub.Check, HealthCheckRequest(service=given.model))
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            _refuse(connection, given.model)
        raise
    name = HealthCheckResponse.ServingStatus.Name(answer.status)
    say(name)
    return 0 if name == "SERVING" else 1


def _refuse(connection: "Connection", model: str) -> None:
    # The health service says only that it has not heard of it; this one names what is loaded.
    from elman.v1 import models_pb2, models_pb2_grpc

    connection.call(
        models_pb2_grpc.ModelsStub(connection.channel).DescribeModel, models_pb2.DescribeModelRequest(model=model)
    )
