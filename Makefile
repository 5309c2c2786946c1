# Needs Python 3.10 or newer and make; everything else is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/quickstart
JOBS ?= 2
# The oldest versions that pyproject.toml allows, in a folder that hides the installed ones.
OLDEST := .cache/oldest
OLDEST_VERSIONS := transformers==5.19.0 huggingface_hub==1.31.0

.PHONY: quickstart test test-fast test-slow test-oldest lint docs hooks dist small-world install clean

quickstart: $(VENV)/.installed  ## tune on the toy world and answer questions about images
	$(BIN)/gemkr quickstart --output $(RUN)

test: lint test-fast  ## lint, types, doctests, fast tests

test-fast: $(VENV)/.installed-test  ## doctests and fast tests
	$(BIN)/python -m pytest -n $(JOBS)

test-slow: $(VENV)/.installed-test  ## tests that train models, build large indexes or run whole pages
	$(BIN)/python -m pytest -n $(JOBS) -m slow

test-oldest: $(VENV)/.installed-test $(OLDEST)/.installed  ## fast tests on the oldest transformers
	PYTHONPATH=$(CURDIR)/$(OLDEST) $(BIN)/python -m pytest -n $(JOBS) tests

lint: $(VENV)/.installed-test  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# The newest NumPy and transformers, whose annotations are checked, need Python 3.11.
	if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then $(BIN)/mypy; fi
	$(BIN)/lint-imports
	@! grep -nE "['\"]gemkr_hf" modeling/*.py processing/*.py  # nor by a string

hooks: $(VENV)/.installed-test  ## check what is committed, at each commit and push
	$(BIN)/pre-commit install

dist: $(VENV)/.installed-test  ## wheel and sdist, checked; the wheel is imported in a fresh environment
	rm -rf dist .cache/dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv .cache/dist
	.cache/dist/bin/python -m pip install --quiet dist/*.whl
	cd .cache/dist && bin/python -c 'from gemkr_hf import *; print("gemkr-hf", __version__)'
	cd .cache/dist && bin/gemkr --help > help.txt

docs: $(VENV)/.installed-test  ## the documentation site, in runs/site
	$(BIN)/python -m mkdocs build --strict

small-world: $(VENV)/.installed  ## train the stand-in checkpoints again (up to 90 minutes on 2 cores)
	$(BIN)/gemkr small-world

install: $(VENV)/.installed

$(VENV)/.installed: setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "GeMKR needs Python 3.10 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[quickstart]'
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(OLDEST)/.installed: Makefile $(VENV)/.installed-test
	rm -rf $(OLDEST)
	$(BIN)/python -m pip install --quiet --no-deps --target $(OLDEST) $(OLDEST_VERSIONS)
	touch $@

clean:
	rm -rf $(VENV) runs dist .cache
