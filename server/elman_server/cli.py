"""`elman-server`: the command line."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from elman_server.bench.options import add_options as add_bench_options
from elman_server.settings import SettingsError, add_options, read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code: 0 done, 1 failed, 2 asked wrongly."""
    parser = argparse.ArgumentParser(prog="elman-server", description="Serves stacked recurrent networks over gRPC.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_serve(commands)
    _add_pack(commands)
    _add_check(commands)
    _add_health(commands)
    _add_bench(commands)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run = {"serve": _serve, "pack": _pack, "check": _check, "health": _health, "bench": _bench}[given.command]
    return run(given)


Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_serve(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = commands.add_parser(  # type: ignore[attr-defined]
        "serve", help="serve a folder of bundles", description="Serves the bundles of a folder until SIGTERM or SIGINT."
    )
    add_options(parser)


def _add_pack(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = commands.add_parser("pack", help="make a bundle from a state_dict")  # type: ignore[attr-defined]
    parser.add_argument("weights", type=Path, help="a state_dict: .pt (no code in it is run) or .safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    parser.add_argument("--name", help="the model's name (default: the folder's)")
    parser.add_argument("--version", default="1", help="the model's version (default: 1)")
    parser.add_argument("--description", default="", help="one line on what it is")
    parser.add_argument("--nonlinearity", choices=("tanh", "relu"), help="of a plain RNN; its weights do not tell")
    parser.add_argument("--rnn-key", help="the stack's prefix in the state_dict, if there are several")
    parser.add_argument("--embedding-key", help="the embedding's prefix in the state_dict; none: there is none")
    parser.add_argument("--head-key", help="the head's prefix in the state_dict; none: there is none")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")


def _add_check(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = commands.add_parser("check", help="say what a bundle is, or what is wrong with it")  # type: ignore[attr-defined]
    parser.add_argument("bundle", type=Path, metavar="DIR", help="a bundle, or a folder of bundles")


def _add_health(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = commands.add_parser("health", help="ask a running server for its health")  # type: ignore[attr-defined]
    parser.add_argument("--address", default="127.0.0.1:8470", metavar="HOST:PORT")
    parser.add_argument("--model", default="", help="one model's (default: the server's)")
    parser.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS")


def _add_bench(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = commands.add_parser(  # type: ignore[attr-defined]
        "bench",
        help="load a running server",
        description="Closed-loop load, or open-loop load with --rates, on a running server: a table, and with --out "
        "a JSON file and plots.",
    )
    add_bench_options(parser)


def _serve(given: argparse.Namespace) -> int:
    try:
        config = read_settings(given)
    except SettingsError as error:
        return _fail(str(error), 2)
    # Until the server is up a stop ends the process at once; by default the first process of a container ignores it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from elman_server.serve import serve  # torch takes seconds to import: --help does not wait for it

    return serve(config)


def _pack(given: argparse.Namespace) -> int:
    from elman_models import BundleError, describe, infer_spec, read_state_dict, write_bundle

    try:
        spec, weights = infer_spec(
            read_state_dict(given.weights),
            name=given.name or given.out.resolve().name,
            version=given.version,
            description=given.description,
            nonlinearity=given.nonlinearity,
            rnn_key=given.rnn_key,
            embedding_key=given.embedding_key,
            head_key=given.head_key,
        )
        write_bundle(given.out, spec, weights, overwrite=given.overwrite)
    except BundleError as error:
        return _fail(str(error))
    print(describe(spec, sum(w.nbytes for w in weights.values())))  # noqa: T201
    return 0


def _check(given: argparse.Namespace) -> int:
    from elman_models import BundleError, describe, find_bundles, read_spec, read_weights

    failed = False
    try:
        bundles = find_bundles(given.bundle)
    except BundleError as error:
        return _fail(str(error))
    for bundle in bundles:
        try:
            spec = read_spec(bundle)
            weights = read_weights(bundle, spec)
            print(describe(spec, sum(w.nbytes for w in weights.values())))  # noqa: T201
        except BundleError as error:
            failed = bool(_fail(str(error)))
    return int(failed) if bundles else _fail(f"{given.bundle}: no bundle there")


def _health(given: argparse.Namespace) -> int:
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
            return _fail(f"{given.address}: {error.code().name}: {error.details()}")
    name = HealthCheckResponse.ServingStatus.Name(answer.status)
    print(name)  # noqa: T201
    return 0 if name == "SERVING" else 1


def _bench(given: argparse.Namespace) -> int:
    from elman_server.bench.command import command

    return command(given)


def _fail(message: str, code: int = 1) -> int:
    print(f"elman-server: {message}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
