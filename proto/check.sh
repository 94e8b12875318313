#!/usr/bin/env bash
# Fails if the committed stubs are not what the contract generates.
set -euo pipefail
cd "$(dirname "$0")/.."
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
stubs() { find client server -name '*_pb2*.py' -o -name '*_pb2*.pyi' | sort; }
stubs | xargs tar cf "$before/stubs.tar"
proto/generate.sh
differences=$(tar df "$before/stubs.tar" 2>&1 | grep -vE 'Mod time|Uid|Gid|Mode' || true)
if [[ $differences ]]; then
  echo "$differences" >&2
  echo "proto: the committed stubs differ from the contract: run 'make proto' and commit" >&2
  exit 1
fi
