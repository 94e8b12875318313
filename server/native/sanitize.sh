#!/usr/bin/env bash
# Usage: server/native/sanitize.sh [address] [thread]
# Builds the extension with sanitizers, each kind into a folder of its own, and runs the native door's tests on it.
# Fails at the first report that has to do with this code. Run by `make native-asan`
# and `make native-tsan`.
#
# ELMAN_FUZZ_MESSAGES  how many mutated messages (200,000)
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(realpath -s "${VENV:-.venv}")/bin/python
export ELMAN_FUZZ_MESSAGES=${ELMAN_FUZZ_MESSAGES:-200000}
tests=(tests/server/test_native_frames.py tests/server/test_native_door.py)

# build FOLDER SANITIZERS
build() {
  rm -rf "$1"
  PIP_CONSTRAINT=$PWD/constraints.txt "$python" -m pip --disable-pip-version-check install --quiet --no-deps \
    --target "$1" -C cmake.define.ELMAN_SANITIZE="$2" -C cmake.build-type=RelWithDebInfo -C install.strip=false \
    ./server/native
}

# run FOLDER RUNTIME: the tests on what lies there, with a sanitizer's runtime loaded first
run() {
  PYTHONPATH=$PWD/$1${PYTHONPATH:+:$PYTHONPATH} LD_PRELOAD="$(g++ -print-file-name="$2") $(g++ -print-file-name=libstdc++.so)" \
    PYTHONMALLOC=malloc "$python" -X faulthandler -m pytest -p no:cacheprovider "${tests[@]}"
}

try_address() {
  local folder=build/native-address
  build $folder address,undefined
  # Python and torch leave much behind at the end by design, so leaks are written down, and only ours count.
  ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:log_path=$PWD/$folder/report \
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 LSAN_OPTIONS=exitcode=0 run $folder libasan.so
  if grep --quiet 'LeakSanitizer has encountered a fatal error' $folder/report.* 2>/dev/null; then
    echo "native-asan: leaks could not be looked for here (no ptrace?)" >&2
  elif awk -v RS= '/elman::/ { print; found = 1 } END { exit !found }' $folder/report.* 2>/dev/null; then
    echo "native-asan: leaks" >&2
    exit 1
  fi
  echo "native-asan: address and undefined behaviour: ok"
}

try_thread() {
  local folder=build/native-thread
  build $folder thread
  # gRPC and Python are not built with it: what they do among themselves is not looked at, see tsan.supp.
  TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66:suppressions=$PWD/server/native/tsan.supp \
    run $folder libtsan.so
  echo "native-tsan: ok"
}

for kind in "${@:-address}"; do "try_$kind"; done
