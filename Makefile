# `make demo` and `make test` work from a fresh clone: they install first.
VENV ?= .venv
BIN = $(VENV)/bin
PACKAGES = models/elman_models client/elman server/elman_server bench examples/demo.py
INSTALLED = $(VENV)/.installed

.PHONY: install format lint test bench proto demo serve containers clean

install: $(INSTALLED)

$(INSTALLED): install.sh constraints.txt requirements-dev.txt models/pyproject.toml client/pyproject.toml server/pyproject.toml
	VENV=$(VENV) ./install.sh
	@touch $@

format: install  ## Formats everything that is written by hand.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install  ## Style, types, which room imports which, and that the stubs are those of the contract.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/lint-imports
	PATH=$(BIN):$$PATH proto/check.sh

test: install  ## Every test.
	$(BIN)/python -m pytest

bench: install  ## The short benchmark: minutes.
	$(BIN)/python -m bench

proto: install  ## The stubs, from the contract.
	PATH=$(BIN):$$PATH proto/generate.sh

demo: install  ## A real model on real input, live.
	$(BIN)/python examples/demo.py

serve: install  ## Serves the bundles that come with elman.
	$(BIN)/elman-server serve --models models/bundles

containers: install  ## Builds and tries the container with podman.
	deploy/try-containers

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
