# Everything is run through the virtual environment in .venv, which the first command sets up from the locked
# dependencies in config/. Needs make and Python 3.11 or newer; choose one with PYTHON=python3.12.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN_STAMP := $(VENV)/.run-$(shell cksum config/requirements.txt pyproject.toml | cksum | cut -d' ' -f1)
DEV_STAMP := $(VENV)/.dev-$(shell cksum config/requirements-dev.txt pyproject.toml | cksum | cut -d' ' -f1)

.PHONY: help run test check format docs lock build clean

help: ## Show the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(RUN_STAMP) ## Start the gateway with an emulator of every provider on 127.0.0.1:8080 (ARGS="--port 9000")
	@$(BIN)/runtime-gateway demo $(ARGS)

test: $(DEV_STAMP) ## Run the whole test suite (ARGS="-k name")
	@$(BIN)/python -m pytest $(ARGS)

check: $(DEV_STAMP) ## Lint, formatting, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(DEV_STAMP) ## Format the code and mend what the linter can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

docs: $(DEV_STAMP) ## Write the generated tables of docs/model.md anew
	@$(BIN)/python -m gateway.generated_docs docs/model.md

build: $(DEV_STAMP) ## Build the wheel into dist/
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

lock: $(DEV_STAMP) ## Lock the newest dependencies that pyproject.toml allows
	@$(PIP) install uv
	@$(BIN)/uv pip compile pyproject.toml --group build --universal --generate-hashes --python-version 3.11 \
	    --no-header --quiet --upgrade --output-file config/requirements.txt
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes --python-version 3.11 \
	    --no-header --quiet --upgrade --output-file config/requirements-dev.txt

clean: ## Remove the virtual environment and everything that tools left behind
	@rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; choose one with PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): $(BIN)/python
	@echo "Setting up .venv (once) …"
	@$(PIP) install --require-hashes --requirement config/requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): $(BIN)/python
	@echo "Setting up .venv for development (once) …"
	@$(PIP) install --require-hashes --requirement config/requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(RUN_STAMP)
