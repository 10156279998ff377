# Every target sets itself up: a .venv beside this file, pinned by constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
# two threads, whatever the machine: results repeat, and neighbours are left in peace
export OMP_NUM_THREADS ?= 2

.PHONY: demo examples race test test-all check format clean
.DEFAULT_GOAL := test

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "autowarm needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-examples/ready: pyproject.toml constraints-examples.txt
	$(PYTHON) -m venv .venv-examples
	.venv-examples/bin/pip install --quiet --disable-pip-version-check --constraint constraints-examples.txt torch==2.13.0
	.venv-examples/bin/pip install --quiet --disable-pip-version-check --constraint constraints-examples.txt \
		--editable '.[examples]' pytest hypothesis
	touch $@

.venv-race/ready: pyproject.toml constraints-race.txt
	$(PYTHON) -m venv .venv-race
	.venv-race/bin/pip install --quiet --disable-pip-version-check --constraint constraints-race.txt torch==2.13.0
	.venv-race/bin/pip install --quiet --disable-pip-version-check --constraint constraints-race.txt --editable '.[race]'
	touch $@

demo: .venv/ready  ## tune the warmup of a small character GPT (2 to 3 minutes on 2 cores)
	$(BIN)/autowarm demo

examples: .venv-examples/ready  ## what the studies of other people's modules run in, e.g. weather_tft

race: .venv-race/ready  ## race autowarm against other tuners (about 3 hours on 2 cores; goes on where it was stopped)
	OMP_NUM_THREADS=1 .venv-race/bin/python studies/tuner_race/race.py --workers 2

test: .venv/ready  ## the fast tests, two at once with a thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not gpu and not browser and not postgres and not ray"

test-all: .venv/ready .venv-examples/ready  ## every test this machine can run
	$(BIN)/python -m pytest -q
	.venv-examples/bin/python -m pytest -q tests/studies/test_examples.py

check: .venv/ready  ## lint, format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-examples .venv-race .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
