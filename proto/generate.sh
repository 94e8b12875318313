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
