#!/usr/bin/env bash
# Renews the locks (exact pins with hashes, Python 3.11 and 3.12). Needs `uv`; called by `make lock`.
#
#   base.lock        all that both kinds of torch share
#   torch-cuda.lock  torch, torchvision and the CUDA 13 wheels they bring
#   torch-cpu.lock   torch's CPU build (`+cpu`, so that a missing wheel fails loudly) and torchvision
#   dev.lock         the tools of `make test`
#
# The CPU wheel is not on PyPI: point UV_FIND_LINKS or UV_EXTRA_INDEX_URL at a place that has it.
set -euo pipefail
cd "$(dirname "$0")"
TORCH=2.13.0 TORCHVISION=0.28.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-annotate --no-emit-index-url --no-emit-find-links "$@"; }
# One numpy and one scipy for both Pythons: newer ones have dropped 3.11.
printf '%s\n' 'numpy<2.5' 'scipy<1.18' 'dvc==3.67.1' 'statsmodels==0.15.0' 'pingouin==0.7.0' >"$work/pins"
printf '%s\n' "torch==$TORCH" "torchvision==$TORCHVISION" >"$work/torch"
head_of() { printf '# Made by `make lock`; do not edit. %s\n' "$1"; }

# From the index alone: a CPU wheel at hand would pass for torch==2.13.0.
UV_FIND_LINKS="" UV_EXTRA_INDEX_URL="" compile --extra train ../pyproject.toml -c "$work/pins" -c "$work/torch" -o "$work/all.lock"
is_torch='/^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)==/'
{ head_of "Everything but torch."; awk "/^[a-z0-9]/{t=0} $is_torch{t=1} !t" "$work/all.lock"; } >base.lock
{ head_of "torch as PyPI ships it: CUDA 13 on Linux, runs on a CPU too."
  awk "/^[a-z0-9]/{t=0} $is_torch{t=1} t" "$work/all.lock"; } >torch-cuda.lock
printf '%s\n' "torch==$TORCH+cpu" "torchvision==$TORCHVISION" >"$work/torch-cpu.in"
python3 -m pip download --quiet --no-deps -d "$work/wheels" "torch==$TORCH+cpu" # uv gives no hash for a local wheel
{ head_of "torch's CPU build."
  compile --no-deps "$work/torch-cpu.in" | grep -v "^torch==" # replaced by the line below, with its hash
  echo "torch==$TORCH+cpu --hash=sha256:$(sha256sum "$work"/wheels/*.whl | cut -d' ' -f1)"; } >torch-cpu.lock
compile --group ../pyproject.toml:dev -c "$work/pins" -c base.lock -o "$work/dev.lock"
# What base.lock has already is left out.
{ head_of "Tools for make test, on top of base.lock."
  awk 'NR==FNR{if(match($0,/^[a-z0-9._-]+==/))seen[substr($0,1,RLENGTH)]=1;next}
       /^[a-z0-9]/{match($0,/^[a-z0-9._-]+==/);skip=(substr($0,1,RLENGTH) in seen)} !skip' base.lock "$work/dev.lock"; } >dev.lock
