# The few verbs of this repository. `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint docs bench validate clean

help:  ## Show the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# torch comes first and pinned: anything that pulls it in later would bring another build of several GB.
$(VENV)/.runtime: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "refute needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(VENV) (once; a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

# The whole small protocol takes about 12 minutes on 2 cores; this part of it decides the headline claim in six cells.
DEMO := --only architecture=fc-4,fc-8 --only width=primary --only regime=standard --only examples=0

demo: $(VENV)/.runtime  ## Set up, put "Are All Layers Created Equal?" to the test on real images, write the page
	@echo "Part of the small protocol: plain fully connected nets, 20 seeds each. All of it: refute run layer-criticality"
	@if $(BIN)/refute data fetch mnist fashion-mnist; then \
		$(BIN)/refute run layer-criticality --scale small $(DEMO); \
	else \
		echo "No registry answered: the demo runs on the embedded digits alone."; \
		$(BIN)/refute run layer-criticality --scale small $(DEMO) --only dataset=digits; \
	fi

test: lint  ## Set up, lint, check types, run all tests
	$(BIN)/python -m pytest --numprocesses 2

lint: $(VENV)/.development  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.development  ## Write CATALOGUE.md and the pages of the committed evidence (site/)
	$(BIN)/python docs/build.py

$(VENV)/.bench: $(VENV)/.development
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]' && touch $@ || echo "JAX could not be installed and is left out."

# About 10 minutes. All of it: make bench BENCH="--nets all --batch 128,32 --replicas 16,64 --rounds 5 --seconds 4"
BENCH :=

bench: $(VENV)/.bench  ## Speed of training against other ways to do it in Python, in one run
	$(BIN)/python benchmarks/engine.py --table $(BENCH)

validate: $(VENV)/.development  ## Slow proofs: simulated error rates, instruments against closed forms, killed runs
	$(BIN)/python validation/statistics/error_rates.py
	$(BIN)/python validation/statistics/calibration.py --replications 4000 --write docs/calibration.md
	$(BIN)/python validation/statistics/planted.py --runs 300 --write docs/planted.md
	$(BIN)/python validation/instruments/checks.py --write docs/instrument_checks.md
	$(BIN)/python validation/faults/random_kills.py --write docs/faults.md

clean:  ## Remove the environment (results in lab/ stay)
	rm -rf $(VENV)
