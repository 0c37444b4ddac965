# Two commands do everything from nothing: `make demo` and `make test`.
PYTHON ?= python3
BIN    := .venv/bin
TORCH  ?= torch==2.13.0
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check -c .venv/constraints.txt

.PHONY: demo test test-slow check bench clean

demo: .venv/ready
	$(BIN)/handmade demo

test: .venv/ready-dev
	$(BIN)/pytest

test-slow: .venv/ready-dev
	$(BIN)/pytest -m "slow or network"

check: .venv/ready-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: .venv/ready-dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache

# Torch is chosen here (TORCH="torch==2.11.0" for a GPU build); everything else is pinned in constraints.txt.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	{ grep -v '^torch==' constraints.txt; echo '$(TORCH)'; } > .venv/constraints.txt
	$(PIP) $(TORCH)
	$(PIP) -e ".[all]"
	$(BIN)/handmade data prepare digits
	touch $@

.venv/ready-dev: .venv/ready
	$(PIP) -e ".[dev]"
	touch $@

.venv/ready-check: .venv/ready-dev
	$(PIP) -e ".[check]"
	touch $@
