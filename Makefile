# Every habit of the project on one screen. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast simulate acts chaos fuzz pictures lint format bench lock dist clean
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
# Files of tests at a time in `make test`.
WORKERS ?= 2

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## Make .venv with everything in it (uv if present, else venv and pip)

demo: setup ## Real Kafka, platform, services, 200 orders with faults; ONCE=1 stops at the end and checks the result
	@exec $(BIN)/python -m kantor_orchestrator.demo

test: lint ## Everything: lint, types, all test tiers (starts real Kafkas; runs WORKERS=2 test files at a time)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-fast: lint ## Seconds: lint, types, unit tests; no sockets
	$(BIN)/python -m pytest tests/unit

simulate: setup ## Seeded runs of the whole platform in memory, with faults: SEEDS=1000 new seeds, or from FIRST_SEED on
	@SEEDS=$(or $(SEEDS),1000) PYTHONPATH=tests exec $(BIN)/python -m simulation

acts: setup ## What people may do in each state of small sagas, distant ones too: STATES=20000 per saga (half an hour)
	@STATES=$(STATES) PYTHONPATH=tests exec $(BIN)/python -m unit.acts_deep

chaos: setup ## Fault storms on a real Kafka: connections cut, processes and the broker killed: SEED=7 ROUNDS=20 RATE=100 FIRST=1
	@SEED=$(SEED) ROUNDS=$(ROUNDS) RATE=$(RATE) FIRST=$(FIRST) PYTHONPATH=tests exec $(BIN)/python -m integration.chaos

fuzz: setup ## Hostile bytes at every input, until the time is up: MINUTES=60
	@MINUTES=$(MINUTES) PYTHONPATH=tests exec $(BIN)/python -m fuzz

pictures: setup ## Draw the diagrams of docs/images/sagas again
	@for saga in services/kantor_examples/ten/*.yaml; do \
		$(BIN)/kantor diagram "$$saga" --out "docs/images/sagas/$$(basename "$$saga" .yaml).svg" || exit 1; done

lint: setup ## Style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup ## Measure; prints a table, writes .bench/latest.json
	@PYTHONPATH=tests exec $(BIN)/python -m bench

lock: ## Resolve the newest allowed versions into requirements.lock (needs uv); KEEP=1 changes only what pyproject.toml demands
	@cp requirements.lock requirements.lock.new
	@uv pip compile pyproject.toml --extra dev --group contribute --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header $(if $(KEEP),,--upgrade) --quiet --output-file requirements.lock.new \
		|| { rm -f requirements.lock.new; exit 1; }
	@{ head -n 1 requirements.lock; cat requirements.lock.new; } > requirements.lock.tmp
	@mv requirements.lock.tmp requirements.lock && rm requirements.lock.new

dist: setup ## Build sdist and wheel into dist/, check them, and run the README's first steps from the wheel alone
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	@PYTHONPATH=tests exec $(BIN)/python -m release

clean: ## Remove what the commands above created, except .venv (stop `kantor dev` first)
	rm -rf .demo .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find schemas services orchestrator tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Kantor needs Python 3.11 or newer; found: $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up .venv ..." >&2
	@if command -v uv >/dev/null 2>&1; then \
		{ [ -x $(BIN)/python ] || uv venv --quiet --python "$(PYTHON)" .venv; } && \
		uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock && \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
		{ [ -x $(BIN)/python ] || $(PYTHON) -m venv .venv; } && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@
