# Flywheel. `make demo` runs a whole round on a real one-node Kubernetes; `make test` sets up what it needs and passes.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Builds, environments and images live outside the tree, each under a key made of what went into it.
FLYWHEEL_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/flywheel
export FLYWHEEL_CACHE
PYTHON ?= $(or $(shell command -v python3.11),python3)
UV_HOME := $(FLYWHEEL_CACHE)/uv-$(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' images/locks/uv.txt)
UV := $(UV_HOME)/bin/uv
VENV := $(FLYWHEEL_CACHE)/venv-$(shell cat images/locks/dev.txt | sha256sum | cut -c1-12)
PY := $(VENV)/bin/python
# a lock that has an environment of its own: $(call own,llama-cpp)
own = $(FLYWHEEL_CACHE)/$(1)-$(shell cat images/locks/$(1).txt | sha256sum | cut -c1-12)
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/jobs:$(CURDIR)/tests:$(CURDIR)/images
export PATH := $(VENV)/bin:$(PATH)
# Bytecode is kept in the cache, whatever the shell says: without any, each of the processes that tests start compiles
# all that it imports, sympy in 3 s instead of 0.3 s.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(FLYWHEEL_CACHE)/bytecode
# What `make generate` writes; `make verify` fails when it differs from what is committed.
GENERATED := crds docs/reference docs/troubleshooting.md docs/images charts/flywheel/files charts/flywheel/values.schema.json
PYTHON_DIRS := operator jobs tests images

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# ---- environment ------------------------------------------------------------------------------------------------------
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Flywheel needs Python 3.11; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; } \
	  || { echo "python3-venv is missing and cannot be installed without root: apt-get install python3-venv" >&2; exit 1; }
	@mkdir -p $(FLYWHEEL_CACHE)
	@rm -rf $(UV_HOME)
	@$(PYTHON) -m venv $(UV_HOME)
	@$(UV_HOME)/bin/pip install -q --disable-pip-version-check --require-hashes -r images/locks/uv.txt

$(VENV)/.complete: | $(UV)
	@echo "making the development environment $(VENV)"
	@$(UV) venv -q --clear --python $(PYTHON) $(VENV)
	@$(UV) pip install -q --python $(PY) --require-hashes -r images/locks/dev.txt
	@touch $@

setup: $(VENV)/.complete ## the development environment (outside the tree, keyed by its lock)

uv: $(UV)

# ---- checks -----------------------------------------------------------------------------------------------------------
lint: setup ## ruff, mypy, import-linter
	ruff check $(PYTHON_DIRS)
	ruff format --check $(PYTHON_DIRS)
	mypy
	lint-imports

format: setup ## let ruff rewrite the code
	ruff check --fix $(PYTHON_DIRS)
	ruff format $(PYTHON_DIRS)

generate: setup ## write crds/ and the API reference from flywheel_api
	@$(PY) -m flywheel_api.generate
	@$(PY) -m flywheel_operator.config_reference
	@$(PY) -m flywheel_jobs.endpoints.reference
	@$(PY) -m maps

golden: setup ## write tests/golden: what the operator makes of the examples
	$(PY) -m golden

verify: generate ## fail when a generated file differs from what is committed
	@changed=$$(git status --porcelain -- $(GENERATED)); [ -z "$$changed" ] \
	  || { echo "generated files differ from flywheel_api; commit what 'make generate' wrote:" >&2; echo "$$changed" >&2; git --no-pager diff --stat -- $(GENERATED); exit 1; }

test-binaries: setup
	$(PY) -m cluster build --only apiserver
	$(PY) -m cluster build --only minio
	$(PY) -m cluster build --only helm
	$(PY) -m cluster build --only versitygw

test: setup ## everything that needs no image and no root: lint, verify, unit, contract and apiserver tests
	@# side by side: mypy computes while the registry answers
	@$(MAKE) -j2 -O lint verify lock-check test-binaries
	@# one more than the two cores: somebody waits for a server or a clock
	@# files in this order: those that wait for servers run beside those that compute, and the last ones are short
	$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests/apiserver tests/contract tests/unit

fuzz: setup ## hostile text through the reader for FUZZ seconds (60), by SEED; then new examples for every property of texts
	FLYWHEEL_FUZZ_SECONDS=$(or $(filter-out 0,$(FUZZ)),60) FLYWHEEL_FUZZ_SEED=$(or $(SEED),1) $(PY) -m pytest -q --timeout=0 tests/unit/reading/test_fuzz.py
	HYPOTHESIS_PROFILE=fuzz $(PY) -m pytest -q --timeout=0 tests/unit/reading tests/unit/jobs/test_math.py tests/unit/jobs/test_door.py tests/unit/jobs/test_text.py tests/unit/domains/test_expr.py

lock: $(UV) ## rewrite images/locks (UPGRADE=1 takes the newest versions)
	UV=$(UV) images/lock.sh

lock-check: $(UV) ## every lock still resolves from its inputs, the GPU ones included
	UV=$(UV) images/lock.sh check

# ---- images, cluster, demo ----------------------------------------------------------------------------------------------
images: setup ## build the container images (IMAGES="operator jobs" for some, BASE_IMAGE=..., IMAGE_BUILDER=...)
	$(PY) images/build.py $(IMAGES)

cluster-up: setup ## a real one-node Kubernetes on this machine (root)
	$(PY) -m cluster up

cluster-down: setup ## remove the local cluster
	$(PY) -m cluster down

demo: setup ## one round from `kubectl apply` to the verdict, on real parts (ROUNDS=2 for a chain of them, SEED=n for another one, CLUSTER=kind with Docker, CLUSTER=existing for your own cluster, WEATHER=bad for a teacher with faults, DOMAIN=dir for a domain of your own, DOMAIN="booking dir" for both)
	$(PY) -m demo up

demo-down: setup ## remove everything that `make demo` started
	$(PY) -m demo down

define own_rule
$(call own,$(1))/.complete: | $$(UV)
	@$$(UV) venv -q --clear --python $$(PYTHON) $$(@D)
	@$$(UV) pip install -q --python $$(@D)/bin/python --no-deps --require-hashes -r images/locks/$(1).txt
	@touch $$@
endef
$(foreach lock,llama-cpp mlflow trackio trainer-gpu rollout-gpu,$(eval $(call own_rule,$(lock))))

e2e: setup $(call own,llama-cpp)/.complete $(call own,mlflow)/.complete $(call own,trackio)/.complete ## the demo's round with faults injected, the stages on real llama.cpp and vLLM servers, the first check on an installation by the page, trackers on a real MLflow and Trackio
	LLAMA_CPP_PYTHON=$(call own,llama-cpp)/bin/python MLFLOW_PYTHON=$(call own,mlflow)/bin/python \
	  TRACKIO_PYTHON=$(call own,trackio)/bin/python $(PY) -m pytest tests/e2e

domain: setup ## a domain of your own: DO="new NAME", DO="test DIR", DO="import KIND PATH" (docs/domains.md)
	@$(PY) -m flywheel_jobs domain $(DO)

estimate: setup ## what ROUND=examples/round-8b.yaml needs and costs (GPU=H100, CONFIG=its model's config.json)
	@$(PY) -m flywheel_api.capacity "$(ROUND)" "$(CONFIG)" "$(or $(GPU),H100)"

gpu-check: ## the GPU flavour on this machine's GPU, in an environment like the trainer image's (OUT=folder, PARTS=grpo)
	PYTHONPATH=$(PYTHONPATH):$$PYTHONPATH python3 -m gpu.check --project . --out $(or $(OUT),dist/gpu) $(if $(PARTS),--parts $(PARTS)) --seconds $(or $(SECONDS_LEFT),900)

gpu-imports: setup $(call own,trainer-gpu)/.complete $(call own,rollout-gpu)/.complete ## what the GPU images run, imported from their locks without a GPU (16 GB of packages)
	$(PY) -m gpu.imports trainer --python $(call own,trainer-gpu)/bin/python
	$(PY) -m gpu.imports rollout --python $(call own,rollout-gpu)/bin/python

bench: setup ## benchmarks, or those of ONLY="test_rounds and 1000"; print tables and write tests/perf/baseline.json
	@for name in apiserver kube-controller-manager minio kuberay-operator; do $(PY) -m cluster build --only $$name; done
	$(PY) -m pytest -s tests/perf $(if $(ONLY),-k "$(ONLY)")
	$(PY) -m perf.baseline

.PHONY: help setup uv lint format generate golden verify test-binaries test fuzz lock lock-check images cluster-up cluster-down demo demo-down e2e domain estimate gpu-check gpu-imports bench
