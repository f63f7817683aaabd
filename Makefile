# make demo and make test need Python >= 3.11, make and git; tools/bootstrap fetches the rest into this folder.
.DEFAULT_GOAL := help
.PHONY: help demo test soak check format lock bench venv clean

VENV := .venv/bin
PYTEST_ARGS ?= -n 2

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

demo: ## run the main job on real input (no root needed)
	@tools/bootstrap demo
	@.venv-demo/bin/bursty demo

venv: ## the developers' environment, in .venv
	@tools/bootstrap dev

test: ## everything the tests need, make check, and all tests
	@tools/system-packages
	@$(MAKE) --no-print-directory check
	$(VENV)/python -m pytest $(PYTEST_ARGS)

soak: venv ## the crash test with real children (SEED=7 RUNS=1000 STORE=sqlite), then half an hour of requests (SECONDS=1800)
	@tools/system-packages
	$(VENV)/python tests/soak/serving.py $(if $(SECONDS),--seconds $(SECONDS))
	$(VENV)/python tests/crash/soak.py $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) $(STORE)

check: venv ## lint, format, types, import contracts, cycles, file lengths
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/pyright --warnings
	$(VENV)/lint-imports
	$(VENV)/python tools/check_imports.py

format: venv ## let ruff mend what it can
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

bench: venv ## the benchmarks; SHORT=1 only proves that they run
	$(VENV)/python benchmarks/run.py $(if $(SHORT),--short)

lock: ## resolve the newest releases into the lock files (UPGRADE=1), or only what pyproject.toml changed
	@tools/lock $(if $(UPGRADE),--upgrade)

clean: ## remove environments, caches and outputs
	rm -rf .venv .venv-demo .tools .bursty out dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools -name __pycache__ -type d -exec rm -rf {} +
