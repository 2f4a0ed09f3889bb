# pimc. 'make help' lists the targets; the virtual environment is made when it is first needed.
VENV ?= .venv
# Processes that run the tests.
WORKERS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first Python that is new enough; 'make test PYTHON=/path/to/python3' overrides.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help demo test slow check lint types packages mutants golden docs claims clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP)  ## compile and run a trained network, compare every tensor with onnxruntime
	@$(BIN)/pimc demo

test: $(STAMP)  ## the default tests
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

slow: $(STAMP)  ## the slow tests: whole networks, many random cases
	$(BIN)/python -m pytest -q -m slow -n $(WORKERS)

check: lint types test  ## lint, types and the default tests

lint: $(STAMP)  ## style, format and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)  ## strict types over packages and tests
	$(BIN)/mypy

packages: $(STAMP)  ## build wheel and sdist and use each in fresh environments, away from the checkout
	$(BIN)/python .ci/packages.py

golden: $(STAMP)  ## rewrite the golden files and the outputs in README; read the diff before you commit it
	$(BIN)/python -m pytest -q tests --update-golden

docs: $(STAMP)  ## regenerate the ISA manual from the instruction declarations
	$(BIN)/python -m pimc_isa.reference

claims: $(STAMP)  ## rewrite the pages in docs/claims that come from counts beside them and the machine files
	$(BIN)/python benchmarks/claims.py
	$(BIN)/python benchmarks/noise.py
	$(BIN)/python benchmarks/raella_claims.py

mutants: $(STAMP)  ## small changes of the code that the tests must notice: a list, and a seeded sample
	$(BIN)/python -m tests.mutants --workers $(WORKERS)

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "pimc needs Python 3.11 or newer; found $$(python3 --version 2>&1 || echo none)." >&2; \
		echo "Install one, or name it: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3" >&2; exit 1; fi
	@if [ ! -x $(BIN)/python ]; then \
		$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "$(PYTHON) cannot make virtual environments: its venv or ensurepip module is missing." >&2; \
			echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
		echo "making $(VENV) with $(PYTHON) (once; a minute or two)"; \
		$(PYTHON) -m venv $(VENV); fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
