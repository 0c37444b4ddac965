# Two commands do everything from nothing: `make demo` and `make test`.
PYTHON ?= python3
BIN    := .venv/bin
TORCH  ?= torch==2.13.0
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check -c .venv/constraints.txt

.PHONY: demo test test-slow test-gpu check studio bench clean studio-page

demo: .venv/ready
	$(BIN)/handmade demo

# Two processes at a time; all tests of one room, and of one file, stay in one of them (tests/conftest.py).
test: .venv/ready-dev
	$(BIN)/pytest -n 2

test-slow: .venv/ready-slow
	$(BIN)/pytest -m "slow or network or hypothesis" --hypothesis-profile=default

# On a machine with a GPU. TORCH must name a build for it.
test-gpu: .venv/ready-dev
	$(BIN)/pytest -m gpu -n 4 tests/gpu

check: .venv/ready-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

studio: .venv/ready
	$(BIN)/handmade studio

bench: .venv/ready-dev
	$(BIN)/python -m benchmarks

# The page of the studio. Its built files are in the repository; this is only for those who change it, and needs Node.
studio-page:
	cd studio-page && npm ci && npm run check && npm run build

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

.venv/ready-slow: .venv/ready-dev
	$(PIP) -e ".[slow]"
	touch $@

.venv/ready-check: .venv/ready-slow
	$(PIP) -e ".[check]"
	touch $@
