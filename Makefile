# `make demo` and `make test` do all the set-up themselves, are safe to run again, and are fast the second time.
# Needed: make and Python 3.11 or newer. Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
EXTRAS ?= all,dev
PYTEST_ARGS ?=

VENV ?= .venv
BIN := $(VENV)/bin
# Every pip call is held to the lock: what is installed today and in a year is the same, and no package can bring a
# second, larger torch. `make lock` renews it; `make test-newest` holds to no lock (LOCK=).
LOCK ?= constraints.txt
TORCH ?= torch==2.13.0
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet $(if $(LOCK),-c $(LOCK))
BASE := $(VENV)/.installed
FULL := $(VENV)/.installed-$(EXTRAS)

.PHONY: help demo test test-slow test-newest check files install lock clean

help:
	@echo "make demo       install what a search needs, then search on real data: under 4 minutes once installed"
	@echo "make test       install everything, then run the tests"
	@echo "make test-slow  the heavier tests"
	@echo "make check      lint, format, types, and the order of the floors"
	@echo "make files      docs/files.md, the clause of every file, from the docstrings"
	@echo "make install    install everything into $(VENV), for developing"
	@echo "make lock       renew constraints.txt, the versions that all of these install"
	@echo "make test-newest  the tests with the newest version of everything, in an environment of its own"
	@echo "make clean      remove $(VENV) and caches (runs/ stays)"

demo: $(BASE)
	$(BIN)/archscout search --space nasbench201 --data digits --max latency=0.4ms --budget 2m --out runs --name demo
	@echo
	@echo "The network, as PyTorch and as ONNX, and what was found about it lie in runs/demo."
	@echo "Open runs/demo/report.html in a browser, or type: $(BIN)/archscout report demo --open"

test: $(FULL)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-slow: $(FULL)
	$(BIN)/python -m pytest -m slow --timeout=1800 $(PYTEST_ARGS)

test-newest:
	.ci/newest

check: $(FULL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

files: $(FULL)
	$(BIN)/python tests/test_files_page.py

install: $(FULL)

# For every system and Python at once: where versions must differ, the lock says where.
lock: .venv-lock/bin/uv
	@echo '$(TORCH)' >.venv-lock/torch.txt
	$< pip compile --quiet --universal --upgrade --python-version 3.11 --no-annotate --no-header \
	  --extra all --extra browser --extra dev --extra postgres --constraint .venv-lock/torch.txt \
	  pyproject.toml --output-file constraints.txt

.venv-lock/bin/uv:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip --disable-pip-version-check install --quiet uv

clean:
	rm -rf $(VENV) .venv-lock .venv-newest build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Archscout needs Python 3.11 or newer, and '$(PYTHON)' is none: name one with make PYTHON=python3.11" >&2; \
	  exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Python's venv module does not work: on Debian and Ubuntu, install python3-venv, then run make again." >&2; \
	  rm -rf $(VENV); exit 1; }

# torch first: once it is there, what is installed after it finds its need met. What builds the package is
# installed by name, since what pip installs for a build alone is held to no lock.
$(BASE): pyproject.toml $(LOCK) | $(BIN)/python
	@echo "Installing Archscout into $(VENV): some minutes the first time ..."
	@$(PIP) '$(TORCH)'
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation -e '.[data]'
	@touch $@

$(FULL): $(BASE)
	@echo "Installing the tools for developing into $(VENV) ..."
	@$(PIP) --no-build-isolation -e '.[$(EXTRAS)]'
	@touch '$@'
