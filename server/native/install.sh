#!/usr/bin/env bash
# Builds elman-native and installs it into .venv, where what it takes is there; else says what brings it. Run by
# `make install`. The server runs without it, more slowly.
set -euo pipefail
cd "$(dirname "$0")"
root=$PWD/../..
venv=$(cd "$root" && realpath "${VENV:-.venv}")
packages=(g++ pkg-config libgrpc++-dev libprotobuf-dev)
include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -e "$include/Python.h" ] || packages+=(python3-dev)

if ! type g++ >/dev/null 2>&1 || ! pkg-config --exists grpc++ protobuf 2>/dev/null || [ ! -e "$include/Python.h" ]; then
  echo "install: no native door, the plain one serves; for the faster one: apt-get install ${packages[*]}, then again"
  exit
fi
echo "install: the native door"
# From the environment, so that what pip fetches to build with (cmake, ninja, pybind11) is constrained too.
PIP_CONSTRAINT=$root/constraints.txt "$venv/bin/python" -m pip --disable-pip-version-check install --quiet \
  --force-reinstall --no-deps .
touch "$venv/.native"  # the Makefile's mark
