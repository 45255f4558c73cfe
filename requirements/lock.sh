#!/usr/bin/env bash
# Renews the locks (exact pins with hashes, Python 3.11 and 3.12); called by `make lock`. A pin that still fits stays:
# `make lock UPGRADE=1` takes the newest versions. All locks are written at the end, or none.
#
#   base.lock        all that both kinds of torch share
#   torch-cuda.lock  torch, torchvision and the CUDA 13 wheels they bring
#   torch-cpu.lock   torch's CPU build (`+cpu`, so that a missing wheel fails loudly) and torchvision
#   dev.lock         the tools of `make test`, on top of base.lock
#   cluster.lock     Ray, for the extra `ray`, on top of base.lock
#   supply.lock      the tools of the supply chain, an environment of their own
#
# `uv` is installed into a temporary environment where there is none. The CPU wheel is not on PyPI, and is asked for only
# when torch's version below changes: pip must then find it, by PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS.
set -euo pipefail
cd "$(dirname "$0")"
TORCH=2.13.0 TORCHVISION=0.28.0 UV=0.13.9 RAY=2.60.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/tools"
pip() { "$work/tools/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
command -v uv >/dev/null || { pip install "uv==$UV" && PATH=$work/tools/bin:$PATH; }
# From the index alone: a CPU wheel at hand would pass for torch==2.13.0.
export UV_FIND_LINKS="" UV_EXTRA_INDEX_URL=""
# compile OUTPUT SEED... -- ARGUMENTS: pins that stand in the seeds are kept where they fit.
compile() {
  local output=$1 && shift
  while [[ $1 != -- ]]; do
    [[ -n ${UPGRADE:-} || ! -e $1 ]] || cat "$1" >>"$output"
    shift
  done
  shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
    --no-annotate --no-emit-index-url --no-emit-find-links -o "$output" "$@"
}
head_of() { printf '# Made by `make lock`; do not edit. %s\n' "$1"; }
mkdir "$work/locks"

# One numpy and one scipy for both Pythons: newer ones have dropped 3.11.
printf '%s\n' 'numpy<2.5' 'scipy<1.18' 'dvc==3.67.1' 'statsmodels==0.15.0' 'pingouin==0.7.0' >"$work/pins"
printf '%s\n' "torch==$TORCH" "torchvision==$TORCHVISION" >"$work/torch"
compile "$work/all.lock" base.lock torch-cuda.lock -- --extra train ../pyproject.toml -c "$work/pins" -c "$work/torch"
is_torch='/^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)==/'
{ head_of "Everything but torch."; awk "/^[a-z0-9]/{t=0} $is_torch{t=1} !t" "$work/all.lock"; } >"$work/locks/base.lock"
{ head_of "torch as PyPI ships it: CUDA 13 on Linux, runs on a CPU too."
  awk "/^[a-z0-9]/{t=0} $is_torch{t=1} t" "$work/all.lock"; } >"$work/locks/torch-cuda.lock"
{ head_of "torch's CPU build."
  awk '/^[a-z0-9]/{t=0} /^torchvision==/{t=1} t' "$work/all.lock"
  grep "^torch==$TORCH+cpu " torch-cpu.lock || { # a wheel of one version stays what it is
    pip download --no-deps -d "$work/wheels" "torch==$TORCH+cpu" >&2 # uv gives no hash for a local wheel
    echo "torch==$TORCH+cpu --hash=sha256:$(sha256sum "$work"/wheels/*.whl | cut -d' ' -f1)"; }; } >"$work/locks/torch-cpu.lock"
compile "$work/dev.lock" base.lock dev.lock -- --group ../pyproject.toml:dev -c "$work/pins" -c "$work/locks/base.lock"
# What base.lock has already is left out.
beyond_base() { head_of "$2"
  awk 'NR==FNR{if(match($0,/^[a-z0-9._-]+==/))seen[substr($0,1,RLENGTH)]=1;next}
       /^[a-z0-9]/{match($0,/^[a-z0-9._-]+==/);skip=(substr($0,1,RLENGTH) in seen)} !skip' "$work/locks/base.lock" "$1"; }
beyond_base "$work/dev.lock" "Tools for make test, on top of base.lock." >"$work/locks/dev.lock"
echo "ray==$RAY" >"$work/ray"
compile "$work/cluster.lock" base.lock dev.lock cluster.lock -- --extra ray ../pyproject.toml -c "$work/pins" -c "$work/ray" \
  -c "$work/locks/base.lock" -c "$work/locks/dev.lock"
beyond_base "$work/cluster.lock" "Ray, on top of base.lock." >"$work/locks/cluster.lock"
compile "$work/supply.lock" supply.lock -- --group ../pyproject.toml:supply
{ head_of "Tools of the supply chain, for an environment of their own."; cat "$work/supply.lock"; } >"$work/locks/supply.lock"
cd "$work/locks" # a lock that is the same keeps its date, so that no environment is made anew for it
for lock in *.lock; do cmp --quiet "$lock" "$OLDPWD/$lock" || cp "$lock" "$OLDPWD"; done
