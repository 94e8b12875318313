"""`elman-server health`: asks a running server for its health."""

import argparse
from typing import TYPE_CHECKING

from elman_server.commands.command import fail, say

if TYPE_CHECKING:
    from elman_server.commands.command import Commands


def add(commands: "Commands") -> None:
    """Adds the command with its options."""
    parser = commands.add_parser("health", help="ask a running server for its health")
    parser.add_argument("--address", default="127.0.0.1:8470", metavar="HOST:PORT")
    parser.add_argument("--model", default="", help="one model's (default: the server's)")
    parser.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

    with grpc.insecure_channel(given.address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            answer = check(HealthCheckRequest(service=given.model), timeout=given.timeout)
        except grpc.RpcError as error:
            return fail(f"{given.address}: {error.code().name}: {error.details()}")
    name = HealthCheckResponse.ServingStatus.Name(answer.status)
    say(name)
    return 0 if name == "SERVING" else 1
