# `make demo` and `make test` work from a fresh clone: they install first.
VENV ?= .venv
BIN = $(VENV)/bin
PACKAGES = models/elman_models client/elman server/elman_server bench \
           $(filter-out examples/triton_sequence_client.py,$(wildcard examples/*.py))
INSTALLED = $(VENV)/.installed
# Made where the native door is; without what it takes to build it, asked for anew each time.
NATIVE = $(VENV)/.native
NATIVE_SOURCES = $(shell find server/native -type f)

.PHONY: install format lint test native-asan native-tsan bench proto demo pictures serve containers clean

install: $(INSTALLED) $(NATIVE)

$(INSTALLED): install.sh constraints.txt requirements-dev.txt models/pyproject.toml client/pyproject.toml server/pyproject.toml
	VENV=$(VENV) ./install.sh
	@touch $@

$(NATIVE): $(INSTALLED) $(NATIVE_SOURCES)
	VENV=$(VENV) server/native/install.sh

format: install  ## Formats everything that is written by hand.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i server/native/src/* bench/native_load/*.cc bench/native_load/*.h

lint: install  ## Style, types, which room imports which, and that the stubs are those of the contract.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror server/native/src/* bench/native_load/*.cc bench/native_load/*.h
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/lint-imports
	PATH=$(BIN):$$PATH proto/check.sh

test: install  ## Every test.
	$(BIN)/python -m pytest

native-asan: install  ## The native door's tests under the address and undefined-behaviour sanitizers.
	VENV=$(VENV) server/native/sanitize.sh

native-tsan: install  ## The same under the thread sanitizer.
	VENV=$(VENV) server/native/sanitize.sh thread

bench: install  ## The short benchmark: minutes.
	$(BIN)/python -m bench

proto: install  ## The stubs, from the contract.
	PATH=$(BIN):$$PATH proto/generate.sh

demo: install  ## Real models on real input, live: a scene of each form.
	$(BIN)/python -m examples.demo

pictures: install  ## The pictures in docs/ of what models do.
	$(BIN)/python -m examples.pictures

serve: install  ## Serves the bundles that come with elman.
	$(BIN)/elman-server serve --models models/bundles

containers: install  ## Builds and tries the container with podman.
	deploy/try-containers

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
