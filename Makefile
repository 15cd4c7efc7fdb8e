# Everything sets itself up: a machine needs Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PARITY ?= .venv-parity

.PHONY: demo test test-slow slurm-test faults fuzz parity lint clean setup

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/python -m transformer_jax study run experiments/demo.py --workdir=runs/demo
	$(BIN)/python -m transformer_jax study report runs/demo

test: setup lint
	$(BIN)/python -m pytest -n 2 -m 'not slow and not slurm and not parity' --durations=10

test-slow: setup
	$(BIN)/python -m pytest -n 2 -m slow --durations=10

slurm-test: setup
	bash tests/slurm_setup.sh
	$(BIN)/python -m pytest -m slurm --durations=10

faults: setup
	$(BIN)/python -m tests.faults.run

fuzz: setup
	$(BIN)/python -m tests.fuzz.run --cases=1000

parity: $(PARITY)/ready
	HF_HUB_OFFLINE=1 PARITY_TABLE=docs/parity.md $(PARITY)/bin/python -m pytest -n 2 -m parity tests/parity --durations=5
	HF_HUB_OFFLINE=1 $(PARITY)/bin/python -m pytest -m parity tests/evaluate

$(PARITY)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[parity]'
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(PARITY) runs
