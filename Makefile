# All commands use the virtual environment in .venv, which the first command creates from the locked dependencies in
# config/. Some tests run the providers' own clients; each client has its own environment. Requires make and Python 3.11
# or newer; select an interpreter with PYTHON=python3.12.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN_STAMP := $(VENV)/.run-$(shell cksum config/requirements.txt config/requirements-build.txt pyproject.toml | cksum | cut -d' ' -f1)
DEV_STAMP := $(VENV)/.dev-$(shell cksum config/requirements-dev.txt pyproject.toml | cksum | cut -d' ' -f1)
CLIENTS := $(basename $(notdir $(wildcard config/clients/*.txt)))
CLIENT_STAMPS := $(foreach name,$(CLIENTS),.venv-clients/$(name)/.made-$(shell cksum < config/clients/$(name).txt | cut -d' ' -f1))
NODE_STAMP := .venv-clients/node/.made-$(shell cksum < tests/real/package.json | cut -d' ' -f1)
LOCK := $(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --quiet --upgrade
# The first line of a client's list is the client itself; the other lines are the dependencies that the tests need.
LOCK_CLIENT := $(LOCK) --no-annotate

.PHONY: help run test real faults answers tenants differential check bench profile soak waiting format docs pictures new-adapter lock build clean

help: ## Show this list of commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(RUN_STAMP) ## Run the gateway with an emulator of every provider on 127.0.0.1:8080 (ARGS="--port 9000")
	@$(BIN)/runtime-gateway demo $(ARGS)

# Four parts that take about as long run in parallel. The output of the last one is shown at once, the others' at the end.
test: $(DEV_STAMP) $(CLIENT_STAMPS) ## Run the whole test suite, except the tests in a browser (ARGS="-k name")
	@folder=$$(mktemp -d); trap 'kill $$parts 2>/dev/null; rm -rf $$folder' EXIT INT TERM; \
	export TEST_CLIENTS=required; pytest="$(BIN)/python -m pytest"; \
	$$pytest tests/faults/simulator tests/faults/test_moves*.py -p no:cacheprovider $(ARGS) > $$folder/1 2>&1 & parts=$$!; \
	$$pytest tests/faults --ignore tests/faults/simulator --ignore-glob 'tests/faults/test_moves*.py' -p no:cacheprovider $(ARGS) \
	    > $$folder/2 2>&1 & parts="$$parts $$!"; \
	$$pytest tests/component/access tests/component/test_*.py -p no:cacheprovider $(ARGS) > $$folder/3 2>&1 & parts="$$parts $$!"; \
	$$pytest --ignore tests/faults --ignore tests/real --ignore tests/component/access --ignore-glob 'tests/component/test_*.py' $(ARGS); codes=$$?; \
	for job in $$parts; do wait $$job; codes="$$codes $$?"; done; cat $$folder/*; \
	for code in $$codes; do [ $$code = 0 ] || { [ $$code = 5 ] && [ -n "$(ARGS)" ]; } || exit $$code; done

real: $(DEV_STAMP) $(filter .venv-clients/dreadnode% .venv-clients/openapi%,$(CLIENT_STAMPS)) $(if $(shell command -v npm),$(NODE_STAMP)) ## Test with real browsers, runtime servers, clients and Prometheus: the data plane's clients, generated ones, a page, the image's commands, the stack
	@$(BIN)/python -m pytest tests/real $(ARGS)

faults: $(DEV_STAMP) ## Test creates through gateways that are killed, at providers that fail (N=1000 SEED=7)
	@FAULTS_N=$(or $(N),1000) FAULTS_SEED=$(SEED) $(BIN)/python -m pytest -s tests/faults/test_creates_under_fire.py $(ARGS)

answers: $(DEV_STAMP) ## Test two principals at a provider with repeated, stray and truncated responses (N=10000 SEED=7)
	@ANSWERS_N=$(or $(N),10000) ANSWERS_SEED=$(SEED) $(BIN)/python -m pytest tests/component/test_mixed_up_responses.py $(ARGS)

tenants: $(DEV_STAMP) ## Test that two tenants see nothing of each other on any surface (N=5000 SEED=7)
	@TENANTS_N=$(or $(N),5000) TENANTS_SEED=$(SEED) $(BIN)/python -m pytest tests/component/access/test_tenants.py $(ARGS)

differential: $(DEV_STAMP) ## Compare how the gateway's HTTP client and aiohttp's read generated responses (N=100000 SEED=7)
	@DIFFERENTIAL_N=$(or $(N),100000) DIFFERENTIAL_SEED=$(SEED) $(BIN)/python -m pytest -s -k generated tests/component/upstream/differential $(ARGS)

check: $(DEV_STAMP) ## Check lint, formatting, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(DEV_STAMP) ## Measure the gateway beside a bare pass-through and an older version (ARGS="--quick --before HEAD~1")
	@$(BIN)/python -m benchmarks $(ARGS)

profile: $(DEV_STAMP) ## Show where the time of each kind of request goes, by part of the gateway
	@$(BIN)/python -m benchmarks.shares $(ARGS)

soak: $(DEV_STAMP) ## Check that memory, descriptors, tasks and objects stay flat over many mixed requests (N=1000000)
	@$(BIN)/python -m benchmarks.soak --requests $(or $(N),1000000) $(ARGS)

waiting: $(DEV_STAMP) ## Measure many callers that wait for 100 runtimes: polls, memory, the drain (N=2000)
	@$(BIN)/python -m benchmarks.waiting --callers $(or $(N),2000) $(ARGS)

format: $(DEV_STAMP) ## Format the code, and apply the linter's automatic fixes
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

docs: $(DEV_STAMP) ## Regenerate the tables and plots in docs/, and the schema of the settings
	@$(BIN)/python -m tests.generated_docs docs/*.md
	@$(BIN)/python -m benchmarks.plots
	@$(BIN)/runtime-gateway config schema > config/gateway.schema.json

pictures: $(DEV_STAMP) ## Take the screenshots of the README, with Chromium
	@$(BIN)/python -m tests.real.pictures

new-adapter: $(DEV_STAMP) ## Write the folder of a new adapter from a template (NAME=lagoon)
	@$(BIN)/python config/adapter-template/new_adapter.py '$(NAME)'
	@$(BIN)/ruff format --quiet 'adapters/$(NAME)'
	@$(BIN)/python -m tests.generated_docs docs/*.md

build: $(RUN_STAMP) ## Build the wheel into dist/
	@$(BIN)/python -m hatchling build --target wheel --directory dist

lock: $(DEV_STAMP) ## Lock the newest dependency versions that pyproject.toml allows
	@$(PIP) install uv
	@$(LOCK) pyproject.toml --all-extras --output-file config/requirements.txt
	@$(LOCK) --group build --constraint config/requirements.txt --output-file config/requirements-build.txt
	@$(LOCK) pyproject.toml --all-extras --group dev --output-file config/requirements-dev.txt
	@for list in config/clients/*.in; do \
	    { head -n 1 $$list | $(LOCK_CLIENT) --no-deps - && tail -n +2 $$list | $(LOCK_CLIENT) - ; } > $${list%.in}.txt || exit 1; \
	done

clean: ## Remove the virtual environments, builds and caches
	@rm -rf $(VENV) .venv-clients dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is required; select one with PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): $(BIN)/python
	@echo "Creating .venv (once) …"
	@$(PIP) install --require-hashes --requirement config/requirements.txt --requirement config/requirements-build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): $(BIN)/python
	@echo "Creating .venv for development (once) …"
	@$(PIP) install --require-hashes --requirement config/requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(RUN_STAMP)

$(NODE_STAMP):
	@echo "Installing the Node clients for tests (once) …"
	@rm -rf $(@D) && mkdir -p $(@D) && cp tests/real/package.json $(@D)
	@cd $(@D) && npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

$(CLIENT_STAMPS):
	@echo "Creating the environment of $(notdir $(@D)) for tests (once) …"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes \
	    --ignore-requires-python --requirement config/clients/$(notdir $(@D)).txt
	@touch $@
