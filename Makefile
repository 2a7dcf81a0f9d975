# The menu. `make serve` and `make test` are all that a new machine needs.
#   make serve       environment, models, and the embedded default at http://127.0.0.1:8000
#   make test        environment, models, linters and every test but the slow ones
#   make test-unit   no Ray, no models: seconds
#   make test-slow   minutes
#   make lint        ruff and mypy
#   make chaos       good, malformed, slow and leaving clients for 3 minutes, replicas killed: CHAOS="--minutes 10"
#   make fuzz        fuzz what reads requests, a minute for each target: FUZZ_S=600 TARGETS="image form"
#   make bench       the local pipeline and Ray's example against this server; half an hour, on an idle machine
# On a machine with a GPU, `make serve CONSTRAINTS=` leaves pip free to choose a CUDA build of torch.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
CONSTRAIN := $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

export RAY_USAGE_STATS_ENABLED := 0

.PHONY: serve models test test-unit test-slow lint bench chaos fuzz clean

serve: models
	$(BIN)/pipeline-graph serve serve_config.yaml

models: $(VENV)/.serve
	$(BIN)/python -m embedded

test: $(VENV)/.test models lint
	$(BIN)/python -m pytest

test-unit: $(VENV)/.test
	$(BIN)/python -m pytest tests/unit

test-slow: $(VENV)/.test models
	$(BIN)/python -m pytest -m slow

bench: $(VENV)/.test
	RAY_SERVE_ENABLE_HA_PROXY=1 RAY_SERVE_THROUGHPUT_OPTIMIZED=1 $(BIN)/python -m benchmarks --replicas $$(nproc) $(BENCH)

chaos: $(VENV)/.test
	$(BIN)/python -m tests.chaos $(CHAOS)

fuzz: $(VENV)/.test
	$(PIP) install $(CONSTRAIN) -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.serve: pyproject.toml $(CONSTRAINTS) embedded/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make serve PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(CONSTRAIN) -e '.[all]'
	$(PIP) install --no-deps -r embedded/requirements.txt
	touch $@

$(VENV)/.test: $(VENV)/.serve
	$(PIP) install $(CONSTRAIN) -e '.[all,test]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
