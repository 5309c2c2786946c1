# Needs Python 3.10 or newer and make; everything else is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/quickstart

.PHONY: quickstart test lint small-world install clean

quickstart: $(VENV)/.installed  ## tune on the small world and answer questions about images
	$(BIN)/gemkr quickstart --output $(RUN)

test: $(VENV)/.installed-test lint  ## lint, types, doctests, tests
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

small-world: $(VENV)/.installed  ## make the stand-in checkpoints anew (up to 90 minutes on 2 cores)
	$(BIN)/gemkr small-world

install: $(VENV)/.installed

$(VENV)/.installed: setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "GeMKR needs Python 3.10 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) runs .cache
