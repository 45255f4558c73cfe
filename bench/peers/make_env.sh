#!/usr/bin/env bash
# Makes .bench/torchdistill: an environment that holds torchdistill alone and borrows all else, torch above all, from
# .venv, so that both sides of the comparison run on the same build. Nothing in .venv changes.
set -euo pipefail
cd "$(dirname "$0")/../.."
env=.bench/torchdistill
[[ -x .venv/bin/python ]] || { echo "error: expected the project's environment in .venv; run \`make test\` once" >&2; exit 2; }
rm -rf "$env"
.venv/bin/python -m venv "$env"
packages='import sysconfig; print(sysconfig.get_path("purelib"))'
# addsitedir, unlike a plain path, also reads the .pth files there: kdcap is installed by one
echo "import site; site.addsitedir('$(.venv/bin/python -c "$packages")')" >"$("$env/bin/python" -c "$packages")/venv.pth"
"$env/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
  -r bench/peers/torchdistill.lock
"$env/bin/python" -c 'import bench.peers.torchdistill_side'
echo "made $env; \`python -m bench training\` now measures torchdistill too"
