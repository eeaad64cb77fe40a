# runsc: `make run` builds what is needed and greets from inside a sandbox, `make test` checks everything.

VENV := .venv
PYTHON := $(VENV)/bin/python

.PHONY: all build run test lint types layers unit compat clean

all: build

build:
	@tools/bootstrap

run: build
	$(VENV)/bin/runsc do -- /bin/sh tools/greeting.sh

test: lint types layers unit

lint: build-test
	$(PYTHON) -m ruff check .

types: build-test
	$(PYTHON) -m mypy

layers: build-test
	$(VENV)/bin/lint-imports

unit: build-test
	$(PYTHON) -m pytest

# Other people's programs, natively and in a sandbox, compared test by test: hours. ARGS="python:test_os stress:pipe"
# picks some of them.
compat: build-test
	PYTHONPATH=tools $(PYTHON) -m compat $(ARGS)

.PHONY: build-test
build-test:
	@tools/bootstrap --test

clean:
	rm -rf $(VENV) .build build dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
	find core plugins -name '*.so' -delete
