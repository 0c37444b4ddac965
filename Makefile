# Two commands do everything from nothing: `make demo` and `make test`.
PYTHON ?= python3
BIN    := .venv/bin
TORCH  ?= torch==2.13.0

.PHONY: demo test test-slow check bench studio docs clean

demo: .venv/ready
	$(BIN)/handmade demo

test: .venv/ready-dev
	$(BIN)/pytest

test-slow: .venv/ready-dev
	$(BIN)/pytest -m "slow or network"

check: .venv/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: .venv/ready-dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache

# The processor's build of torch is pinned first; a machine with a GPU sets TORCH to the build that fits it.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH) -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[all]" -c constraints.txt
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	touch $@
