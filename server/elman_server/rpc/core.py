"""gRPC's core, as grpcio's own servers use it: completion queue, server, call, operations. Its names are used in this
folder only, so that what grpcio may change without notice is met in one place."""

from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]

core: Any = cygrpc
