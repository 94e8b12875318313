#!/usr/bin/env bash
# Makes .venv with the three distributions and what working on them takes. Run by `make install`.
#
# torch's CPU build is a tenth of its CUDA build, which is what plain `pip install torch` takes on Linux; so the CPU
# build is asked for by name. TORCH=cuda takes the CUDA build instead.
set -euo pipefail
cd "$(dirname "$0")"
venv=${VENV:-.venv}
torch=$(sed -n 's/^torch==//p' constraints.txt)

[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet --constraint constraints.txt)

if ! "$venv/bin/python" -c "import importlib.metadata as m; exit(m.version('torch').split('+')[0] != '$torch')" 2>/dev/null; then
  echo "install: torch $torch (${TORCH:-cpu})"
  case ${TORCH:-cpu} in
    cuda) "${pip[@]}" "torch==$torch" ;;
    # From where pip is set up to look, else from PyTorch's own index.
    cpu) "${pip[@]}" "torch==$torch+cpu" 2>/dev/null ||
      "${pip[@]}" --extra-index-url https://download.pytorch.org/whl/cpu "torch==$torch+cpu" ;;
    *) echo "install: TORCH is cpu or cuda, got $TORCH" >&2; exit 2 ;;
  esac
fi
echo "install: elman and its tools"
"${pip[@]}" --requirement requirements-dev.txt --editable './models[examples,keras,ort]' --editable ./client --editable './server[fast]'
