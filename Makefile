# Everything happens in .venv. Set-up is repeated only when pyproject.toml or constraints/ change.

PYTHON ?= python3
CASE ?= cases/lynx_hare/case.toml
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PINS := $(wildcard constraints/*.txt)

# Test processes; tests/conftest.py holds each to one thread.
WORKERS ?= 2
# Files in their order: by number of tests, the few that take minutes would come last.
ON_WORKERS := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Silences an advertisement for the theme's successor.
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-slow test-coupling study bench check format docs clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## run a case (CASE=..., by default lynx and hare)
	$(BIN)/assim run $(CASE)

test: check ## every check, then the tests but for the slow ones
	$(BIN)/python -m pytest $(ON_WORKERS) $(PYTEST_ARGS)

test-slow: $(VENV)/.dev ## the slow tests
	$(BIN)/python -m pytest -m slow $(ON_WORKERS) $(PYTEST_ARGS)

test-coupling: $(VENV)/.dev ## codes outside JAX, both ways; what needs a compiler is skipped where there is none
	$(BIN)/python -m pytest tests/couple tests/host -m "not slow" $(ON_WORKERS) $(PYTEST_ARGS)

study: $(VENV)/.dev ## what takes hours, in batches that are kept: NAME=calibration ARGS=...
	JAX_ENABLE_X64=1 $(BIN)/python -m tests.studies.$(NAME) $(ARGS)

bench: $(VENV)/.dev ## the engine beside compiled C and NumPy, to out/bench.json
	$(BIN)/python -m tests.benchmarks.bench
	$(BIN)/python -m tests.benchmarks.coupling

check: $(VENV)/.dev ## style, types and documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mkdocs build --quiet --strict --config-file .mkdocs.yml --site-dir "$(CURDIR)/$(VENV)/site"

format: $(VENV)/.dev ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## serve the documentation while writing it
	$(BIN)/mkdocs serve --strict --config-file .mkdocs.yml

clean: ## remove the environment and everything built; results in out/ stay
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- set-up ------------------------------------------------------------------------------------

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; \
	sys.exit(0 if sys.version_info >= (3, 11) else \
	"$(PYTHON) is Python " + v + "; assim needs 3.11 or newer: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)

# $(call install,EXTRA): install in editable mode, pinned where the interpreter has a list of pins.
define install
	@pins=constraints/$$($(BIN)/python -c 'import sys; print("py%d%d" % sys.version_info[:2])').txt; \
	if [ -f $$pins ]; then set -- -c $$pins; else set --; fi; \
	echo "installing assim[$(1)] $$*"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$(1)]" "$$@"
endef

$(VENV)/.run: $(VENV)/pyvenv.cfg pyproject.toml $(PINS)
	$(call install,plot)
	@touch $@

$(VENV)/.dev: $(VENV)/pyvenv.cfg pyproject.toml $(PINS)
	$(call install,dev)
	@touch $(VENV)/.run $@
