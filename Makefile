# Everything runs in .venv; `make` lists the targets.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
REWRITTEN := .venv/tests-compiled
# Of the versions in constraints.txt, for the Python of the image.
LOCK = $(BIN)/uv pip compile - --quiet --universal --python-version 3.13 --generate-hashes --constraint constraints.txt \
	--no-annotate --custom-compile-command 'make lock'

# Without compiled files every process of the tests compiles the tree and rewrites all assertions.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-e2e test-real test-node contract acceptance faults simulate schemas generate typescript monitoring lock docs release check million bench

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install everything in it

$(STAMP): pyproject.toml hatch_version.py runqueue-server/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "runqueue needs Python 3.11 or later; name one: make PYTHON=python3.11 setup" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[cli,server,dev]' --editable ./runqueue-server
	@touch $@

# In a fresh clone each process of the tests would compile all of them at the same time.
$(REWRITTEN): $(STAMP)
	@$(BIN)/pytest -n 0 -qq --collect-only >/dev/null || true # the tests themselves say what is wrong
	@touch $@

demo: $(STAMP) ## Run the example jobs against a simulated Skyvern API
	@$(BIN)/runqueue demo

up: $(STAMP) ## Run workers and a gateway against the Skyvern API (needs SKYVERN_API_KEY)
	@$(BIN)/runqueue up

test: $(STAMP) $(REWRITTEN) ## Run the tests, without the slow ones, which make check runs, too: some thirteen minutes on two cores
	@echo "some thirteen minutes on two cores; make check runs the slow tests, too, in some sixteen"
	$(BIN)/pytest -m 'not slow and not e2e and not real'

test-e2e: $(STAMP) ## Drive the page in a real Chromium (apt-get install chromium)
	$(BIN)/pytest -n 2 -m e2e tests/e2e

test-real: $(STAMP) ## Hold everything to a real Skyvern: SKYVERN_VERSION=1.0.40, BROWSER=1, ONLY=contract (installs 1.6 GB)
	@# A first installation takes longer than a test may.
	$(BIN)/python -m tests.real.server
	$(BIN)/pytest -n 0 -rP -m real tests/real $(if $(ONLY),-k '$(ONLY)')

test-node: $(STAMP) ## Try the TypeScript client with a real gateway (needs Node 20.6 or later)
	cd clients/typescript && npm ci --no-audit --no-fund && PYTHON=$(abspath $(BIN)/python) npm test

contract: $(STAMP) ## Compare our models with the schemas of Skyvern's package; VERSION=1.0.40 tries another (installs 1.6 GB)
	$(BIN)/python -m tests.contract $(if $(VERSION),--version $(VERSION))

acceptance: $(STAMP) ## Kill workers under 2,000 jobs, and break limits with four processes
	RUNQUEUE_TEST_JOBS=2000 $(BIN)/pytest -n 2 -rP -m acceptance

faults: $(STAMP) ## Kill, freeze, cut off and fill up real processes, and write docs/results/faults.csv (sets clocks by libfaketime)
	@test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || dpkg -s libfaketime >/dev/null 2>&1 || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends libfaketime; }
	$(BIN)/python -m faults --at-once 3 --write docs/results/faults.csv

simulate: $(STAMP) ## Simulate the whole queue under a virtual clock: SEEDS=5000 MINUTES=5, adds up in .simulation.json
	$(BIN)/python -m simulation --seeds $(or $(SEEDS),5000) --minutes $(or $(MINUTES),5) --tally .simulation.json --every-kind

generate: $(STAMP) ## Write blocking modules from those for coroutines
	$(BIN)/python -m tools.generate

typescript: $(STAMP) ## Write docs/openapi.json, and the types of the TypeScript client from it (needs Node 20.6 or later)
	cd clients/typescript && npm ci --no-audit --no-fund
	$(BIN)/python -m tools.typescript

monitoring: $(STAMP) ## Write the tables of docs/monitoring.md and the dashboards
	$(BIN)/python -m ops

schemas: $(STAMP) ## Write the JSON Schemas in docs/schemas
	$(BIN)/python -m runqueue.schemas docs/schemas

lock: $(STAMP) ## Write the locks of the image in deploy/image, with the hashes of every file (installs uv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	printf '%s\n' './runqueue-server[otel,parquet]' . | $(LOCK) --no-emit-package runqueue \
		--no-emit-package runqueue-server --output-file deploy/image/requirements.lock
	echo hatchling | $(LOCK) --output-file deploy/image/build.lock

docs: $(STAMP) ## Build the documentation as a site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

release: $(STAMP) ## Build wheels, sdists, SBOMs, the site and their hashes in dist/, and install and run them
	$(BIN)/python -m tools.release

check: $(STAMP) $(REWRITTEN) ## What CI runs: format, lint, types, import contracts, tests, simulated plans and 200 seeds: some sixteen minutes on two cores
	@echo "some sixteen minutes on two cores"
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/api_client tests/webhooks \
		--cov=api_client --cov=webhooks --cov-branch --cov-fail-under=100 --cov-report=term-missing:skip-covered
	HYPOTHESIS_PROFILE=ci $(BIN)/pytest --ignore=tests/api_client --ignore=tests/webhooks
	$(BIN)/python -m simulation --directed all
	$(BIN)/python -m simulation --seeds 200 --minutes 3 --within 2 --every-kind

million: $(STAMP) ## Submit a million lines, killed half-way, by Redis and by HTTP
	$(BIN)/python -m bench million

bench: $(STAMP) ## Run the benchmarks
	$(BIN)/python -m bench
