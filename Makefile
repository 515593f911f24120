# Every target sets up what it needs in .venv; nothing but python3 and make is expected.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt
SETUP := setup.cfg pyproject.toml constraints.txt

.PHONY: demo test fuzz kills lint format docs bench clean

demo: $(VENV)/installed
	$(BIN)/pottsattn demo --out demo-report
	@echo "open demo-report/report.html"

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

fuzz: $(VENV)/installed-test
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds 600

kills: $(VENV)/installed-test
	$(BIN)/python tests/fuzz/kills.py --kills 100

lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: $(VENV)/installed
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) demo-report docs/_build build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(SETUP) | $(VENV)/bin/python
	$(PIP) -e .
	@touch $@

$(VENV)/installed-%: $(SETUP) | $(VENV)/bin/python
	$(PIP) -e '.[$*]'
	@touch $@
