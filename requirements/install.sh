#!/usr/bin/env bash
# Makes .venv from the locks; called by make. TORCH=cpu|cuda|none chooses the build of torch: by default the CPU build,
# and the CUDA build where the machine has an NVIDIA driver or the CPU wheel is not to be had.
#
# The CPU wheel is not on PyPI: PyTorch's own index for CPU wheels, in PIP_EXTRA_INDEX_URL, saves gigabytes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || {
  echo "error: expected Python 3.11 or 3.12, found $("$python" --version); name one: make PYTHON=python3.11 ..." >&2
  exit 2
}
[[ -x .venv/bin/python ]] && .venv/bin/python -c '' 2>/dev/null || { rm -rf .venv; "$python" -m venv .venv; }
install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps "$@"; }
echo "installing kdcap's environment into .venv (once; a few minutes)"
install -r requirements/base.lock -r requirements/dev.lock
if [[ -z ${TORCH:-} ]]; then
  TORCH=cpu
  if command -v nvidia-smi >/dev/null; then TORCH=cuda; fi
fi
if [[ $TORCH == cpu ]] && ! install -r requirements/torch-cpu.lock; then
  echo "torch's CPU wheel is not to be had here: installing PyPI's CUDA build, which runs on a CPU too (gigabytes)"
  TORCH=cuda
fi
if [[ $TORCH == cuda ]]; then install -r requirements/torch-cuda.lock; fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
touch .venv/ready
