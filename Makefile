# Every verb that a person or a machine needs. `make demo` and `make test` work from a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo setup test soak bench docs lint clean

demo: .venv/.core
	$(BIN)/baldur run digits --strategy random --strategy entropy --strategy bald --seeds 5 \
	    --rounds 20 --query-size 10 --initial 20 --draws 20 \
	    --epochs 20 --learning-rate 0.003 --out runs/demo

setup: .venv/.dev

test: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

soak: setup
	$(BIN)/python -m pytest soak --timeout 1800
	$(BIN)/python -m pytest tests -m hypothesis --hypothesis-profile soak --timeout 1800

bench: setup build/peers
	$(BIN)/python -m bench $(PARTS)

docs: setup
	OMP_NUM_THREADS=1 $(BIN)/python docs/make_methods.py
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.make_interface
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.make_errors
	OMP_NUM_THREADS=1 $(BIN)/python docs/make_moons.py

lint: setup
	$(BIN)/ruff check src tests soak bench docs/*.py && $(BIN)/ruff format --check src tests soak bench docs/*.py
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv runs build src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

build/peers: bench/peers.txt | .venv/bin/python
	@echo "installing the libraries that Baldur is compared with into $@"
	rm -rf $@
	$(PIP) install --no-deps --target $@ --requirement $< || echo "not installed: their rows will say so"

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Baldur needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv

.venv/.core: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing Baldur into .venv (once, about a minute)"
	$(PIP) install --constraint constraints.txt --editable .
	touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing Baldur and its development tools into .venv (once, about a minute)"
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	touch $@ .venv/.core
