# make demo             trains on digits, exports, and classifies from C++: under five minutes
# make test             every test: in Python, the toolbox's in both environments, and from C++
# make fuzz             random problems for the loss, for FUZZ_SECONDS; SEED repeats a run
# make lint             formatting, Python's static checks and types; make format mends the first
# make tidy             clang-tidy, the static checks of C++: minutes
# make docs             guides, recipes and references as one site, into build/docs
# make test-sanitize    the C++ tests and random problems under AddressSanitizer and
#                       UndefinedBehaviorSanitizer
# make test-torch       the tests that need no toolbox with another PyTorch: TORCH=2.8.0 PYTHON=python3.10
# make wheels           wheels and their index pages: TORCH="2.13.0 2.15.0" PYTHON="python3.11 python3.12"
# make release-check    what a release must do: takes an hour
# make test-cuda-build  builds libpaco with its CUDA kernels and tests what needs no GPU
# make test-cuda        the tests that need a GPU, and compute-sanitizer on some of them
# make bench-cuda       the benchmarks on a GPU, into benchmarks/results (DATA=data/cifar100)
# make clean            removes builds and environments
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
SOURCES := CMakeLists.txt pyproject.toml setup.py $(shell find cmake csrc tools/classify -type f)
PACKAGE := $(SOURCES) $(shell find -L paco -name '*.py')
CPP_FILES = $(shell git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')
# CMake projects find the libpaco built in place by these.
CMAKE_PREFIXES = -DCMAKE_PREFIX_PATH="$(CURDIR)/paco;$$($(BIN)/python -c 'import torch; print(torch.utils.cmake_prefix_path)')"
CMAKE_PYTHON = -DPython_EXECUTABLE="$(CURDIR)/$(BIN)/python"
# Here warnings are errors. They are none for people who install libpaco, whose compiler may know more.
CMAKE := CXXFLAGS=-Werror PATH="$(CURDIR)/$(BIN):$$PATH" cmake -G Ninja

.PHONY: demo test test-torch wheels release-check fuzz test-python test-onedl test-cpp test-sanitize test-cuda-build test-cuda bench-cuda lint tidy docs format clean

demo: .venv/paco
	$(BIN)/python tools/demo.py
	$(CMAKE) -S examples/cpp -B $(BUILD)/examples $(CMAKE_PREFIXES)
	$(BIN)/cmake --build $(BUILD)/examples --target classify
	$(BUILD)/examples/classify work_dirs/demo/classifier.pt work_dirs/demo/test_images.pt

# Two at a time: most tests in Python keep one core busy. Those from C++ take the place of the first
# that ends.
test:
	OMP_WAIT_POLICY=passive $(MAKE) --jobs 2 --output-sync=line test-python test-onedl test-cpp

test-python: .venv/paco .venv/dev
	$(BIN)/pytest

# The tests that depend on the toolbox, or on how paco is installed; the rest would repeat itself.
ONEDL_TESTS = tests/mmpretrain tests/mmseg tests/tools tests/docs/test_how_to.py \
    tests/docs/test_docstrings.py tests/test_library.py tests/test_cmake_package.py

FUZZ_SECONDS ?= 60
fuzz: .venv/paco .venv/dev
	$(BIN)/python tests/ops/fuzz.py --seconds $(FUZZ_SECONDS) $(if $(SEED),--seed $(SEED))

test-onedl: .venv-onedl/paco .venv-onedl/dev
	$(ONEDL_BIN)/pytest -m "not once" $(ONEDL_TESTS)

test-cpp: .venv/paco
	$(CMAKE) -S tests/cpp -B $(BUILD)/tests $(CMAKE_PREFIXES) $(CMAKE_PYTHON)
	$(BIN)/cmake --build $(BUILD)/tests --parallel $(MAX_JOBS)
	$(BIN)/ctest --test-dir $(BUILD)/tests --output-on-failure

test-sanitize: .venv/paco
	$(CMAKE) -S . -B $(BUILD)/sanitize -DPACO_TESTS=ON -DPACO_SANITIZE=address,undefined \
	    -DCMAKE_BUILD_TYPE=RelWithDebInfo $(CMAKE_PREFIXES) $(CMAKE_PYTHON)
	$(BIN)/cmake --build $(BUILD)/sanitize --target paco_tests paco_kernel_tests classify_tests train --parallel $(MAX_JOBS)
	$(BIN)/ctest --test-dir $(BUILD)/sanitize --output-on-failure
	rm -rf $(BUILD)/sanitize-python && mkdir $(BUILD)/sanitize-python
	cp -r paco $(BUILD)/sanitize-python
	cp $(BUILD)/sanitize/libpaco.so $(BUILD)/sanitize-python/paco/lib
	for capability in default avx2 avx512 avx512_bf16; do \
	    PACO_CPU_CAPABILITY=$$capability PYTHONPATH=$(BUILD)/sanitize-python $(SANITIZER_FIRST) \
	        $(BIN)/python tests/ops/fuzz.py --seconds 20 $(if $(SEED),--seed $(SEED)) || exit 1; \
	done

# Python itself is not instrumented: the sanitizer has to be loaded before it, and libstdc++, whose
# exceptions it intercepts, with it. What Python leaves behind at its end is not ours.
SANITIZER_FIRST = LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
    ASAN_OPTIONS=detect_leaks=0

# In an environment of its own, where libpaco is a wheel, and from a folder without the checkout's
# paco, which is built for another PyTorch. CMAKE_PREFIXES and CMAKE_PYTHON name the other.
TORCH_ENV = $(BUILD)/torch-$(TORCH)
TORCH_TESTS = tests/ops tests/nn $(filter-out tests/test_torchvision_compat.py, $(wildcard tests/test_*.py))
test-torch: $(TORCH_ENV)/paco
	mkdir -p $(TORCH_ENV)/run
	cd $(TORCH_ENV)/run && ../bin/pytest --rootdir $(CURDIR) -c $(CURDIR)/pyproject.toml $(TORCH_TESTS:%=$(CURDIR)/%)
	CXXFLAGS=-Werror PATH="$(CURDIR)/$(TORCH_ENV)/bin:$$PATH" cmake -G Ninja -S tests/cpp -B $(TORCH_ENV)/tests \
	    -DPython_EXECUTABLE="$(CURDIR)/$(TORCH_ENV)/bin/python" -DCMAKE_PREFIX_PATH="$$($(TORCH_ENV)/bin/python -I -c \
	    'import paco, torch; print(paco.__path__[0], torch.utils.cmake_prefix_path, sep=";")')"
	$(TORCH_ENV)/bin/cmake --build $(TORCH_ENV)/tests --parallel $(MAX_JOBS)
	$(TORCH_ENV)/bin/ctest --test-dir $(TORCH_ENV)/tests --output-on-failure

# Each torch for each Python, PYTHON="python3.11 python3.12"; CUDA=1 with the CUDA kernels.
wheels:
	$(firstword $(PYTHON)) release/wheels.py --torch $(TORCH) --python $(PYTHON) $(if $(CUDA),--cuda)

# What a release must do: wheels, built from its sdist, the site, saved files and schemas of the last
# release, and the commands of the README.
release-check: .venv/paco .venv/dev docs
	$(BIN)/python release/changelog.py
	$(BIN)/pytest tests/test_schemas.py tests/test_deploy.py tests/docs
	$(BIN)/python release/readme_commands.py
	$(MAKE) wheels TORCH="$(or $(TORCH),$$($(BIN)/python -c 'import torch; print(torch.__version__.split("+")[0])'))"
	$(PYTHON) release/environments.py mmpretrain timm

# The kernels' bodies on the host under ThreadSanitizer's eyes; then the library.
test-cuda-build: $(BUILD)/cuda-torch/torch $(BUILD)/cuda-tools/installed
	$(CMAKE) -S tests/cpp/kernels/cuda -B $(BUILD)/cuda-host -DPACO_SANITIZE=thread
	$(BIN)/cmake --build $(BUILD)/cuda-host --parallel $(MAX_JOBS)
	$(BIN)/ctest --test-dir $(BUILD)/cuda-host --output-on-failure --parallel $(MAX_JOBS)
	$(CMAKE) -S . -B $(BUILD)/cuda -DPACO_CUDA=ON $(CUDA_TORCH) $(CUDA_TOOLKIT)
	$(BIN)/cmake --build $(BUILD)/cuda --target paco --parallel $(MAX_JOBS)
	$(CMAKE) -S tests/cpp/kernels/cuda/library -B $(BUILD)/cuda-library $(CUDA_TORCH) \
	    -DCUDAToolkit_ROOT=$(CUDA_TOOLS) -DPACO_LIBRARY=$(CURDIR)/$(BUILD)/cuda/libpaco.so \
	    -DCUOBJDUMP=$(CUDA_TOOLS)/bin/cuobjdump
	$(BIN)/cmake --build $(BUILD)/cuda-library --parallel $(MAX_JOBS)
	$(BIN)/ctest --test-dir $(BUILD)/cuda-library --output-on-failure

# The caching allocator would hide reads and writes beyond a tensor. compute-sanitizer judges paco's
# kernels alone, and so has nothing to say of the problems that are left to PyTorch's.
test-cuda: .venv/paco-cuda .venv/dev
	$(BIN)/pytest -m cuda
	for tool in memcheck racecheck; do \
	    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $$tool --error-exitcode 1 \
	        --kernel-name kns=paco --report-api-errors no $(BIN)/python -m pytest -m cuda tests/ops \
	        -k "one_row_after_another or on_a_device or edge and not float64 and not wider" || exit 1; \
	done

# DATA is the folder of CIFAR-100: its Python archive, which is downloaded if it is not there, or
# train/<class>/* and test/<class>/*.
DATA ?= data/cifar100
bench-cuda: .venv/paco-cuda
	$(BIN)/python benchmarks/loss_cuda.py
	$(BIN)/python benchmarks/train_cuda.py --data-root $(DATA)

lint: .venv/paco .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP_FILES)

# OpenMP is left out, because clang has no header for it.
tidy: .venv/paco .venv/dev
	$(CMAKE) -S . -B $(BUILD)/tidy -DPACO_PYTHON=ON -DPACO_TESTS=ON -DCMAKE_UNITY_BUILD=OFF $(CMAKE_PREFIXES) $(CMAKE_PYTHON)
	$(BIN)/run-clang-tidy.py -quiet -clang-tidy-binary $(BIN)/clang-tidy -p $(BUILD)/tidy \
	    -j $(MAX_JOBS) -extra-arg=-fno-openmp '(csrc|tools/classify|tests/cpp)/'

# With the fork, which has every toolbox that paco has a plugin for.
docs: .venv-onedl/paco .venv-onedl/dev
	rm -rf $(BUILD)/docs
	$(ONEDL_BIN)/sphinx-build -E -W --keep-going -q -c docs . $(BUILD)/docs
	@echo $(BUILD)/docs/index.html

format: .venv/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(CPP_FILES)

clean:
	rm -rf .venv .venv-onedl $(BUILD) dist work_dirs *.egg-info paco/_C*.so paco/bin paco/include paco/lib \
	    paco/share

# ---- What test-cuda-build needs ------------------------------------------------------------------

CUDA_TORCH = -DTorch_DIR=$(CURDIR)/$(BUILD)/cuda-torch/torch/share/cmake/Torch

# Headers and libraries of PyTorch's CUDA build, in the version of the environment; not installed,
# because nothing of it is run but what needs no GPU. "===" is that build alone, not another of the
# same version.
$(BUILD)/cuda-torch/torch: .venv/toolbox
	rm -rf $(@D)
	version=$$($(BIN)/python -c 'import torch; print(torch.__version__.split("+")[0])') && \
	    env -u PIP_FIND_LINKS $(BIN)/pip download --no-deps -d $(@D) "torch===$$version"
	cd $(@D) && $(PYTHON) -m zipfile -e torch-*.whl .

# The compiler from PyPI's packages, which lack two links that CMake and nvcc look for.
CUDA_TOOLS = $(CURDIR)/$(BUILD)/cuda-tools/nvidia/cu13
CUDA_TOOLKIT = -DCMAKE_CUDA_COMPILER=$(CUDA_TOOLS)/bin/nvcc -DCUDAToolkit_ROOT=$(CUDA_TOOLS)

$(BUILD)/cuda-tools/installed: .venv/toolbox requirements/cuda.txt
	rm -rf $(@D)
	$(BIN)/pip install --no-deps --target $(@D) -r requirements/cuda.txt
	ln -s lib $(CUDA_TOOLS)/lib64
	ln -s libcudart.so.13 $(CUDA_TOOLS)/lib/libcudart.so
	touch $@

# ---- Environments --------------------------------------------------------------------------------
#
# .venv/toolbox, .venv/dev, .venv/paco and the like are empty files, stamps: a rule touches its own
# when its step is done, and make runs the rule again as soon as something that it depends on is
# newer. So a changed source rebuilds libpaco before the next test, and a changed list of packages
# makes the environment anew. To have a step done again, delete its stamp.

.venv/toolbox: requirements/upstream.txt requirements/common.txt
.venv-onedl/toolbox: requirements/onedl.txt requirements/common.txt
.venv/toolbox .venv-onedl/toolbox:
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	    { echo "libpaco needs Python 3.10 to 3.13 with the venv module; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install -r $<
	touch $@

$(BUILD)/torch-%/torch: requirements/torch.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install torch==$* -r $<
	touch $@

$(BUILD)/torch-%/paco: $(BUILD)/torch-%/torch $(PACKAGE)
	PACO_CUDA=0 CXXFLAGS=-Werror $(@D)/bin/pip install --no-build-isolation --no-deps --force-reinstall .
	touch $@

.venv/dev .venv-onedl/dev: %/dev: %/toolbox requirements/dev.txt
	$(@D)/bin/pip install -r requirements/dev.txt
	touch $@

.venv/paco: .venv/toolbox $(SOURCES)
	CXXFLAGS=-Werror $(BIN)/pip install --no-build-isolation --no-deps -e .
	touch $@

# The CUDA kernels are built too, which the rule above leaves out where it finds no nvcc.
.venv/paco-cuda: .venv/paco
	PACO_CUDA=1 $(BIN)/pip install --no-build-isolation --no-deps -e .
	touch $@

.venv-onedl/paco: .venv-onedl/toolbox .venv/paco $(PACKAGE)
	rm -f dist/*.whl
	$(BIN)/pip wheel --no-build-isolation --no-deps -w dist .
	$(ONEDL_BIN)/pip install --no-deps --force-reinstall dist/*.whl
	touch $@
