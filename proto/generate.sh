#!/usr/bin/env bash
# Makes the stubs from the contract. Run by `make proto`; CI runs it and fails on a difference.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
# google/rpc/*.proto come with googleapis-common-protos.
common=$($python -c 'import google.rpc, os; print(os.path.dirname(os.path.dirname(list(google.rpc.__path__)[0])))')
protoc=("$python" -m grpc_tools.protoc -Iproto -I"$common")
"${protoc[@]}" --python_out=client --mypy_out=quiet,readable_stubs:client proto/elman/v1/*.proto
"${protoc[@]}" --grpc_python_out=client --mypy_grpc_out=quiet:client \
  proto/elman/v1/{models,sessions,inference}.proto
# The Open Inference Protocol's stubs belong to the server alone. protoc's VIRTUAL=REAL paths put them where they are
# imported from, so nothing is rewritten.
stubs=elman_server/door/oip/stubs
"$python" -m grpc_tools.protoc -I"$stubs=proto/inference" --python_out=server --grpc_python_out=server \
  --mypy_out=quiet,readable_stubs:server --mypy_grpc_out=quiet:server "$stubs/grpc_service.proto"
"$python" -m grpc_tools.protoc -I"$stubs=proto/inference" --python_out=server \
  --mypy_out=quiet,readable_stubs:server "$stubs/unread.proto"
