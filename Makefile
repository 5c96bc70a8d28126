# make demo   trains on digits, exports, and classifies from C++       (under five minutes)
# make test   every test, in both environments and from C++
# make lint   formatting and static checks
# make test-sanitize   the C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
# make clean  removes builds and environments
#
# Two virtual environments, one a toolbox line, are made and kept up to date on the way: .venv
# (upstream), where paco is installed in place, and .venv-onedl, where it is installed as a wheel.

PYTHON ?= python3
MAX_JOBS ?= $(shell nproc)
export MAX_JOBS
export PIP_DISABLE_PIP_VERSION_CHECK = 1

BIN := .venv/bin
ONEDL_BIN := .venv-onedl/bin
BUILD := build
SOURCES := CMakeLists.txt pyproject.toml setup.py $(shell find cmake csrc -type f)
PACKAGE := $(SOURCES) $(shell find paco -name '*.py')
CPP_FILES = $(shell git ls-files '*.h' '*.cpp' '*.cu')
# For CMake projects that use the libpaco built in place.
CMAKE_PREFIXES = -DCMAKE_PREFIX_PATH="$(CURDIR)/paco;$$($(BIN)/python -c 'import torch; print(torch.utils.cmake_prefix_path)')"
CMAKE := PATH="$(CURDIR)/$(BIN):$$PATH" cmake -G Ninja

.PHONY: demo test test-python test-onedl test-cpp test-sanitize lint format clean

demo: .venv/paco
	$(BIN)/python tools/demo.py
	$(CMAKE) -S examples/cpp -B $(BUILD)/examples $(CMAKE_PREFIXES)
	$(BIN)/cmake --build $(BUILD)/examples --target classify
	$(BUILD)/examples/classify work_dirs/demo/classifier.pt work_dirs/demo/test_images.pt

test: test-python test-onedl test-cpp

test-python: .venv/paco .venv/dev
	$(BIN)/pytest

test-onedl: .venv-onedl/paco .venv-onedl/dev
	$(ONEDL_BIN)/pytest

test-cpp: .venv/paco
	$(CMAKE) -S tests/cpp -B $(BUILD)/tests $(CMAKE_PREFIXES)
	$(BIN)/cmake --build $(BUILD)/tests --parallel $(MAX_JOBS)
	$(BIN)/ctest --test-dir $(BUILD)/tests --output-on-failure

test-sanitize: .venv/paco
	$(CMAKE) -S . -B $(BUILD)/sanitize -DPACO_TESTS=ON -DPACO_SANITIZE=address,undefined \
	    -DCMAKE_BUILD_TYPE=RelWithDebInfo $(CMAKE_PREFIXES)
	$(BIN)/cmake --build $(BUILD)/sanitize --parallel $(MAX_JOBS)
	$(BIN)/ctest --test-dir $(BUILD)/sanitize --output-on-failure

lint: .venv/paco .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run --Werror $(CPP_FILES)

format: .venv/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(CPP_FILES)

clean:
	rm -rf .venv .venv-onedl $(BUILD) dist work_dirs *.egg-info paco/_C*.so paco/lib paco/include paco/share

# ---- Environments: the files that the rules touch say when each step was last done ---------------

.venv/toolbox: requirements/upstream.txt requirements/common.txt
.venv-onedl/toolbox: requirements/onedl.txt requirements/common.txt
.venv/toolbox .venv-onedl/toolbox:
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	    { echo "libpaco needs Python 3.10 to 3.13 with the venv module; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -r $<
	touch $@

.venv/dev .venv-onedl/dev: %/dev: %/toolbox requirements/dev.txt
	$(@D)/bin/pip install -r requirements/dev.txt
	touch $@

.venv/paco: .venv/toolbox $(SOURCES)
	$(BIN)/pip install --no-build-isolation --no-deps -e .
	touch $@

.venv-onedl/paco: .venv-onedl/toolbox .venv/paco $(PACKAGE)
	rm -rf dist
	$(BIN)/pip wheel --no-build-isolation --no-deps -w dist .
	$(ONEDL_BIN)/pip install --no-deps --force-reinstall dist/*.whl
	touch $@
