.DEFAULT_GOAL := help
SHELL := /bin/bash -o pipefail
PYTHON ?= python3
VENV := .venv
EXTRAS := cpu,cells,embed,fast,layout,milvus,openai,ray,server,traces
BIN := $(VENV)/bin
TORCH := 2.13.0
PROTOC_VENV := .venv-protos
DEPLOY_VENV := .venv-deploy
DOCS_VENV := .venv-docs
PEERS_VENV := .venv-peers
if_there = @if command -v $(1) > /dev/null; then $(2); else echo "NOT run, there is no $(1) here: $(1)"; fi
# Tests of one file stay in one process, for they share servers and stores.
TESTS := -m "not gpu and not slow" -n 2 --dist loadfile
NEWER := 3.14 3.13 3.12
STUBS := clients/python
PROTOS := $(wildcard protos/cellkin/v1/*.proto)
UV := $(BIN)/uv --no-config -q
# uv reads its own variables; hand it what pip was told about package indexes and local wheels.
export UV_FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))
export UV_DEFAULT_INDEX := $(or $(UV_DEFAULT_INDEX),$(PIP_INDEX_URL))
ifeq ($(UV_FIND_LINKS),)
unexport UV_FIND_LINKS
endif
ifeq ($(UV_DEFAULT_INDEX),)
unexport UV_DEFAULT_INDEX
endif

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: $(VENV)/.ready  ## Install everything, editable, into .venv.

$(BIN)/uv:
	@echo "setting up $(VENV) (once; a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cellkin needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check 'uv>=0.9'

$(VENV)/.ready: pyproject.toml clients/pyproject.toml .ci/constraints.txt | $(BIN)/uv
	$(UV) pip install --compile-bytecode -p $(BIN)/python -c .ci/constraints.txt -e ./clients[anndata,explore,mcp] -e .[$(EXTRAS)] --group dev
	@touch $@

$(PROTOC_VENV)/.ready: pyproject.toml .ci/constraints.txt $(VENV)/.ready
	$(PYTHON) -m venv $(PROTOC_VENV)
	$(UV) pip install -p $(PROTOC_VENV)/bin/python --group protos
	@touch $@

protos: $(PROTOC_VENV)/.ready  ## Lint the protos, generate the Python stubs and the descriptor set.
	cd protos && ../$(PROTOC_VENV)/bin/buf lint && ../$(PROTOC_VENV)/bin/buf format -d --exit-code
	for kept in protos/releases/*.binpb; do $(PROTOC_VENV)/bin/buf breaking protos --against $$kept || exit 1; done
	find $(STUBS)/cellkin/v1 -name '*_pb2*' -delete
	PATH=$(CURDIR)/$(PROTOC_VENV)/bin:$$PATH $(PROTOC_VENV)/bin/python -m grpc_tools.protoc -I protos \
	  --include_imports --descriptor_set_out=$(STUBS)/cellkin/v1/descriptor_set.binpb \
	  --python_out=$(STUBS) --grpc_python_out=$(STUBS) --mypy_out=quiet:$(STUBS) --mypy_grpc_out=quiet:$(STUBS) $(PROTOS)

fmt: dev  ## Format, and fix what can be fixed.
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

check: dev protos  ## Format, lint, types, import contracts, protos, stubs fresh.
	git diff --exit-code --stat -- $(STUBS)/cellkin/v1
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	PATH=$(CURDIR)/$(BIN):$$PATH PYTHONPATH=store:indexer:server:clients/python:clients/cli $(BIN)/lint-imports
	$(BIN)/mypy store indexer server clients/python clients/cli tests

test: dev  ## Run the tests that take no GPU and no many minutes.
	$(BIN)/pytest $(TESTS)

test-newest:  ## Run the tests of readers and client on the newest Python of this machine beside 3.11.
	@if python=$$(.ci/python $(NEWER)); then \
	  $(MAKE) VENV=.venv-newest PYTHON=$$python EXTRAS=cells,cpu,server dev && \
	  .venv-newest/bin/pytest $(TESTS) tests/unit/matrices tests/unit/client tests/unit/wire; \
	else echo "tests on a newer Python were NOT run: there is none of $(NEWER) here"; fi

test-python-%:  ## Run the tests on another Python of this machine: make test-python-3.12.
	$(MAKE) VENV=.venv-$* PYTHON=$$(.ci/python $*) dev
	.venv-$*/bin/pytest $(TESTS)

test-gpu: dev  ## Run the tests that need a CUDA device; without one they are skipped, with the reason.
	$(BIN)/pytest -m gpu -rs

test-explorer: dev  ## Use the pages of `cellkin explore` in Chromium, with a pancreas reference; skipped without them.
	$(BIN)/pytest -m slow -rs tests/explore

test-client: dev  ## Build the client's wheel, and label a sample with it in a fresh environment.
	$(BIN)/pytest -m slow tests/packaging/test_fresh_client.py

test-installs: dev  ## Install by each line of README in a fresh environment, and do what it says.
	$(BIN)/pytest -m slow tests/packaging/test_installs.py

$(VENV)/.bench-ready: $(VENV)/.ready
	$(UV) pip install -p $(BIN)/python -c .ci/constraints.txt --group bench
	@touch $@

# Of other versions than ours: CellTypist needs an older scikit-learn.
$(PEERS_VENV)/.ready: pyproject.toml $(VENV)/.ready
	$(PYTHON) -m venv $(PEERS_VENV)
	$(UV) pip install -p $(PEERS_VENV)/bin/python -e ./clients -e .[peers]
	@touch $@

bench: $(VENV)/.bench-ready $(PEERS_VENV)/.ready  ## Run every benchmark in a short form, beside its alternatives; under ten minutes.
	$(BIN)/python benchmarks/bench.py

bench-full: $(VENV)/.bench-ready $(PEERS_VENV)/.ready  ## Run every benchmark whole; hours.
	$(BIN)/python benchmarks/bench.py --full

bench-compare: $(VENV)/.bench-ready $(PEERS_VENV)/.ready  ## Measure another commit and this one in turn: make bench-compare BASE=main~5.
	$(BIN)/python benchmarks/bench.py --base $(or $(BASE),$(error name a commit: make bench-compare BASE=...))

chaos: dev  ## Try every promise against kills, full disks, damage, clocks, networks and stores.
	$(BIN)/python benchmarks/chaos.py

soak: dev  ## Ten minutes of mixed load on one server, or MINUTES=N.
	$(BIN)/python benchmarks/soak.py --minutes $(or $(MINUTES),10)

bench-peers: $(PEERS_VENV)/.ready
bench-%: $(VENV)/.bench-ready  ## Run benchmarks/%.py, which writes its part of docs/benchmarks.md.
	$(BIN)/python benchmarks/$*.py

$(DEPLOY_VENV)/.ready: pyproject.toml .ci/constraints.txt $(VENV)/.ready
	$(PYTHON) -m venv $(DEPLOY_VENV)
	$(UV) pip install -p $(DEPLOY_VENV)/bin/python --group deploy
	@touch $@

check-deploy: $(DEPLOY_VENV)/.ready  ## Lint the files of deploy/, each by its own tool.
	$(DEPLOY_VENV)/bin/hadolint deploy/Containerfile
	$(DEPLOY_VENV)/bin/yamllint --strict -c deploy/.yamllint.yaml deploy/compose.yaml deploy/prometheus deploy/grafana deploy/helm/cellkin/values.yaml deploy/helm/cellkin/Chart.yaml
	for values in "" "secrets__tokens=t secrets__tls=t indexer__job__enabled=true explorer__enabled=true explorer__token=t"; do \
	  $(BIN)/python -m tests.packaging.helm_subset $$values > .rendered.yaml && \
	  $(DEPLOY_VENV)/bin/kubernetes-validate --strict .rendered.yaml || exit 1; done; rm -f .rendered.yaml
	$(call if_there,promtool,promtool check rules deploy/prometheus/alerts.yml)
	$(call if_there,promtool,promtool check config --syntax-only deploy/prometheus/prometheus.yml)
	$(call if_there,systemd-analyze,sed 's#/opt/cellkin/bin/cellkin#$(CURDIR)/$(BIN)/cellkin#' deploy/systemd/cellkin.service > cellkin.service && systemd-analyze verify ./cellkin.service; status=$$?; rm -f cellkin.service; test $$status = 0)
	$(call if_there,helm,helm lint deploy/helm/cellkin)

$(DOCS_VENV)/.ready: pyproject.toml clients/pyproject.toml .ci/constraints.txt | $(BIN)/uv
	$(PYTHON) -m venv $(DOCS_VENV)
	$(UV) pip install -p $(DOCS_VENV)/bin/python -c .ci/constraints.txt -e ./clients[anndata,plot] -e .[cells,cpu,embed,server] --group docs
	@touch $@

docs: $(DOCS_VENV)/.ready  ## Build the documentation strictly, its tutorials executed, into docs/_build/html.
	$(DOCS_VENV)/bin/python -m sphinx -W --keep-going $(SPHINXOPTS) docs docs/_build/html

# hdf5plugin and hnswlib state theirs in files alone: MIT with others of BSD kind, and Apache 2.0.
licenses: $(DEPLOY_VENV)/.ready  ## Compare the licenses of all that is installed with those accepted.
	$(DEPLOY_VENV)/bin/pip-licenses --python $(BIN)/python --partial-match \
	  --ignore-packages cellkin cellkin-client hdf5plugin hnswlib --format=csv --allow-only \
	  "Apache;BSD;MIT;ISC;MPL;Mozilla Public License;PSF;Python Software Foundation;Zlib"

test-wheels: dev  ## Build both distributions twice, and compare.
	$(BIN)/pytest -m slow tests/packaging/test_wheels.py

demo: dev  ## Label mouse cells from a human reference by gene text alone.
	$(BIN)/cellkin demo

lock: | $(BIN)/uv  ## Choose the newest versions that fit together, into .ci/constraints.txt.
	{ echo '# The versions that are tested, for every supported Python. Made by: make lock'; \
	  echo 'torch==$(TORCH)' | $(UV) pip compile -c - --universal --python-version 3.11 --no-header --no-annotate --no-emit-find-links --no-emit-index-url \
	    --extra cpu --extra cells --extra embed --extra fast --extra milvus --extra openai --extra ray --extra server --extra traces --extra anndata --extra arrow --extra explore --extra filters --extra mcp --extra pandas --extra plot --group bench --group dev --group docs \
	    pyproject.toml clients/pyproject.toml | grep -vE '^(-e|cellkin|nvidia-|cuda-|triton|torch==)'; echo 'torch==$(TORCH)'; } > .ci/constraints.tmp
	mv .ci/constraints.tmp .ci/constraints.txt

wheels: dev  ## Build both distributions into dist/.
	$(UV) build --all-packages -o dist

clean:  ## Remove what the targets made.
	rm -rf $(VENV) .venv-* .demo .bench dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache docs/_build docs/reference/_api

.PHONY: docs check-deploy licenses test-wheels bench bench-full bench-compare chaos soak help dev lock protos fmt check test test-newest test-gpu test-client test-installs demo wheels clean
