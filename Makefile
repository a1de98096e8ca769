# Development of uactor. Each target installs what it needs, inside this folder.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Most tests wait for other processes, so there can be more than there are cores.
WORKERS ?= 4

PROTO_VENV := .venv-proto
DOCS_VENV := .venv-docs
# Modules are compiled when they are first imported, and most of them never are.
INSTALL := pip install --quiet --no-compile
BIN := $(VENV)/bin
NPM_BIN := node_modules/.bin
GRPCURL := github.com/fullstorydev/grpcurl/cmd/grpcurl

# The tests begin hundreds of interpreters: without this each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help demo quick test test-unix test-grpc test-tcp test-doors test-polyglot coverage mutation matrix full soak bench docs docs-site docs-browser corpus
.PHONY: lint proto proto-check proto-landed lock tools go-modules clean
.PHONY: lint-ruff lint-format lint-mypy lint-pyright lint-buf

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'PYTHON=python3.12 chooses the interpreter, VENV=.venv-3.12 its environment.'

demo: $(VENV)/.project  ## Show what uactor does, in under a minute
	PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/python examples/demo.py

quick: $(VENV)/.dev  ## Run the tests that start no process, in less than a minute; ARGS='-k name' goes to pytest
	$(BIN)/python -m pytest --numprocesses=2 -m 'quick and not processes' $(ARGS)

test: test-unix test-doors test-polyglot  ## Run the tests; ARGS='-k name' goes to pytest

# What is the same over each transport runs over the first one.
ONCE := tests/service tests/codegen
PYTEST = PATH="$(CURDIR)/.tools/bin:$(CURDIR)/$(NPM_BIN):$$PATH" $(BIN)/python -m pytest

test-unix: $(VENV)/.dev tools
	UACTOR_TEST_TRANSPORT=unix $(PYTEST) --numprocesses=$(WORKERS) $(ARGS)

test-grpc test-tcp: test-%: $(VENV)/.dev tools
	UACTOR_TEST_TRANSPORT=$* $(PYTEST) --numprocesses=$(WORKERS) $(ONCE:%=--ignore=%) $(ARGS)

# What meets the wire, over another transport than the local lane.
test-doors: $(VENV)/.dev tools
	UACTOR_TEST_TRANSPORT=tcp $(PYTEST) --numprocesses=$(WORKERS) $(ONCE:%=--ignore=%) \
		-m 'doors and not polyglot and not full and not soak' $(ARGS)

# In one process: what the programs are made of is compiled once in each.
test-polyglot: $(VENV)/.dev tools  ## Run the tests of clients in Go and TypeScript
	$(PYTEST) -m polyglot tests/polyglot $(ARGS)

# A measured call takes several times as long, and so a test may.
coverage: $(VENV)/.dev tools  ## Run the tests by the lane, and check how many branches they reach, in all processes
	rm -rf build/coverage
	UACTOR_TEST_TRANSPORT=unix PATH="$(CURDIR)/.tools/bin:$(CURDIR)/$(NPM_BIN):$$PATH" \
		$(BIN)/python -m coverage run -m pytest --numprocesses=$(WORKERS) --timeout=300 \
		-m 'not unmeasured and not polyglot and not full and not soak' $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# The floor only rises.
mutation: $(VENV)/.mutation  ## Plant small faults in pure modules, which tests have to notice
	$(BIN)/python tools/mutation.py --floor 92 $(ARGS)

matrix: .venv-nox/.stamp  ## Run sessions of noxfile.py: ARGS='--list', ARGS='--session lint demo'
	.venv-nox/bin/nox $(ARGS)

full:  ## Run all checks, all tests under all versions of Python and over all transports
	bash .ci/run full

# Tests that take minutes, over each transport that they name themselves.
soak: $(VENV)/.frozen mutation  ## Run the long tests: interrupts, kills, fuzzing, frozen programs, planted faults
	$(BIN)/python -m pytest -m soak --timeout=3600 tests $(ARGS)

bench: .venv-bench/.stamp .venv-bench-uactor/.stamp  ## Compare with the peers, in one run; ARGS='--only call' chooses
	.venv-bench/bin/python -m benchmarks.run \
		--python uactor_0_1_1='$(CURDIR)/.venv-bench-uactor/bin/python' --plot $(ARGS)

docs: $(VENV)/.dev tools  ## Refresh what the documents show: examples, output, transcripts
	PATH="$(CURDIR)/.tools/bin:$(CURDIR)/$(NPM_BIN):$$PATH" $(BIN)/python tools/docs.py

docs-site: $(DOCS_VENV)/.stamp  ## Build the documentation site in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict $(ARGS)

docs-browser: docs-site  ## Check the documentation site in Chromium, on a wide and on a narrow screen
	$(DOCS_VENV)/bin/python tools/site_browser.py

corpus: $(VENV)/.dev  ## Refresh what the tests expect of generated code; read the difference before you commit it
	$(BIN)/python tools/corpus.py

lint: lint-ruff lint-format lint-mypy lint-pyright lint-buf proto-check  ## Check style, types, contract and generated files

lint-ruff: $(VENV)/.dev
	$(BIN)/ruff check

lint-format: $(VENV)/.dev
	$(BIN)/ruff format --check

lint-mypy: $(VENV)/.dev
	$(BIN)/mypy

lint-pyright: $(VENV)/.dev node_modules/.stamp
	$(NPM_BIN)/pyright --pythonpath $(BIN)/python

lint-buf: node_modules/.stamp
	$(NPM_BIN)/buf lint
	$(NPM_BIN)/buf breaking --against proto/landed.binpb

proto: $(PROTO_VENV)/.stamp  ## Generate uactor/v1 from proto
	$(PROTO_VENV)/bin/python tools/generate.py

proto-check: $(PROTO_VENV)/.stamp  ## Check that uactor/v1 is what proto gives
	$(PROTO_VENV)/bin/python tools/generate.py --check

proto-landed: node_modules/.stamp  ## Take the contract as it is for the one not to break (see buf.yaml)
	$(NPM_BIN)/buf build --exclude-source-info --output proto/landed.binpb

# Locked versions stay unless UPGRADE says otherwise: UPGRADE=--upgrade, or
# UPGRADE='--upgrade-package grpcio'.
UV_COMPILE = .venv-lock/bin/uv pip compile --quiet --no-config --no-header \
	--universal --python-version 3.10 --generate-hashes $(UPGRADE)

lock: .venv-lock/.stamp  ## Lock the dependencies of pyproject.toml in requirements
	$(UV_COMPILE) pyproject.toml --extra codegen --extra dev --group build -o requirements/dev.txt
	$(UV_COMPILE) pyproject.toml --group build -c requirements/dev.txt -o requirements/run.txt
	$(UV_COMPILE) --group frozen -c requirements/dev.txt -o requirements/frozen.txt
	$(UV_COMPILE) --group mutation -c requirements/dev.txt -o requirements/mutation.txt
	$(UV_COMPILE) --group proto -o requirements/proto.txt
	$(UV_COMPILE) --group docs -o requirements/docs.txt
	$(UV_COMPILE) --group nox -o requirements/nox.txt
	$(UV_COMPILE) pyproject.toml --group build --group bench -o requirements/bench.txt
	$(UV_COMPILE) --group bench-uactor -o requirements/bench-uactor.txt

clean:  ## Remove all that make and the tools have made
	rm -rf .venv .venv-* .tools node_modules build dist
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# Environments. A stamp is newer than all that went into its environment.

define new-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "uactor needs Python 3.10 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)." \
			"Choose another: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(@D)
endef

$(VENV)/.run: requirements/run.txt
	$(new-venv)
	$(BIN)/python -m $(INSTALL) --require-hashes -r $<
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.run
	$(BIN)/python -m $(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.project
	$(BIN)/python -m $(INSTALL) --require-hashes -r $<
	@touch $@

$(VENV)/.frozen $(VENV)/.mutation: $(VENV)/.%: requirements/%.txt $(VENV)/.dev
	$(BIN)/python -m $(INSTALL) --require-hashes -r $<
	@touch $@

$(PROTO_VENV)/.stamp: requirements/proto.txt
	$(new-venv)
	$(@D)/bin/python -m $(INSTALL) --require-hashes -r $<
	@touch $@

$(DOCS_VENV)/.stamp: requirements/docs.txt
	$(new-venv)
	$(@D)/bin/python -m $(INSTALL) --require-hashes -r $<
	@touch $@

.venv-nox/.stamp: requirements/nox.txt
	$(new-venv)
	$(@D)/bin/python -m $(INSTALL) --require-hashes -r $<
	@touch $@

.venv-bench/.stamp: requirements/bench.txt pyproject.toml
	$(new-venv)
	$(@D)/bin/python -m $(INSTALL) --require-hashes -r $<
	$(@D)/bin/python -m $(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv-bench-uactor/.stamp: requirements/bench-uactor.txt
	$(new-venv)
	$(@D)/bin/python -m $(INSTALL) --require-hashes -r $<
	@touch $@

.venv-lock/.stamp:
	$(new-venv)
	$(@D)/bin/python -m $(INSTALL) uv
	@touch $@

# Tools that don't come from PyPI: buf and pyright with npm, grpcurl with go.

node_modules/.stamp: package.json package-lock.json .npmrc $(wildcard */polyglot/typescript/package.json)
	@command -v npm >/dev/null || { echo 'buf and pyright are installed with npm: install npm first.' >&2; exit 1; }
	npm ci --loglevel=error
	@touch $@

# 1.9.3 can't dial Unix sockets. Older Go, as in Debian 12, can't build the newer one.
.tools/bin/grpcurl:
	@command -v go >/dev/null || { echo 'grpcurl is installed with go: install go first.' >&2; exit 1; }
	GOBIN='$(CURDIR)/.tools/bin' go install $(GRPCURL)@v1.9.4 || \
		GOBIN='$(CURDIR)/.tools/bin' go install $(GRPCURL)@v1.8.9

# What the clients in Go are made of. Go remembers what it has, and what it has compiled.
GO_MODULES := examples/polyglot/go tests/polyglot/go
go-modules:
	@command -v go >/dev/null || { echo 'The clients in Go need go: install it first.' >&2; exit 1; }
	@for module in $(GO_MODULES); do (cd $$module && go mod download) || exit 1; done

# For the tests. Without a tool its tests are skipped; on CI they must run.
tools:
ifdef CI
	@$(MAKE) --silent node_modules/.stamp .tools/bin/grpcurl go-modules
else
	@$(MAKE) --silent node_modules/.stamp || echo 'No buf: its tests are skipped.'
	@$(MAKE) --silent .tools/bin/grpcurl || echo 'No grpcurl: its tests are skipped.'
	@$(MAKE) --silent go-modules || echo 'No go: its tests are skipped.'
endif
