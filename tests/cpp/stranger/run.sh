#!/usr/bin/env bash
# Uses an installed libpaco as a stranger does: run.sh CMAKE_PREFIX_PATH MODELS
#
# The prefix path is that of libpaco, and then that of PyTorch. Builds examples/cpp and the programs
# of this folder in a new folder, with a space in its name, and runs them without anything of the
# caller's environment. MODELS is what export_models.py wrote. docs/deploy.md explains the messages.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prefixes=$1
models=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
work="$folder/a stranger's project"
mkdir "$work"
cp -r "$here/../../../examples/cpp" "$work/examples"
cp -r "$here" "$work/stranger"
cd "$work"

# Nobody needs Python: one that is called says so, and fails.
mkdir no-python
for python in python python3; do
  printf '#!/bin/sh\necho "$0 $*" >>"%s/python-was-called"\nexit 1\n' "$work" >"no-python/$python"
  chmod +x "no-python/$python"
done
export PATH="$work/no-python:$PATH"

fail() { echo "FAILED: $*" >&2; exit 1; }
build() {  # source, build folder, target, prefix path, further options
  cmake -S "$1" -B "$2" -DCMAKE_PREFIX_PATH="$4" "${@:5}" >"$2.log" 2>&1 &&
    cmake --build "$2" --target "$3" --parallel 2 >>"$2.log" 2>&1 ||
    { cat "$2.log"; fail "building $2"; }
}
cached() { sed -n "s/^$2:[A-Z]*=//p" "$1/CMakeCache.txt"; }
run() { env -i "$@"; }
expect_message() {  # text, command: the command fails and says the text
  local output
  output=$(run "${@:2}" 2>&1) && fail "'${*:2}' should have failed"
  output=$(tr -s '[:space:]' ' ' <<<"$output")  # CMake breaks lines
  [[ $output == *"$1"* ]] || fail "'${*:2}' said: $output"
}

build examples examples-release all "$prefixes" -DCMAKE_BUILD_TYPE=Release
run examples-release/classify "$models/classifier.pt" "$models/images.pt"
run examples-release/training_step "$models/step.pt"
run examples-release/train "$models/digits" trained.pt --epochs 2
run examples-release/classify_images "$models/classify/model.pt" "$models/classify/0.png"
torch=$(realpath "$(cached examples-release Torch_DIR)/../../..")

# Torch is beside paco, as in site-packages, and found by itself.
paco=$(realpath "$(cached examples-release Paco_DIR)/../../..")
mkdir -p "site packages/paco"
cp -r "$paco/include" "$paco/lib" "$paco/share" "site packages/paco"
ln -s "$torch" "site packages/torch"
wheel="$work/site packages/paco"

build stranger programs all "$wheel" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_EXE_LINKER_FLAGS=-Wl,--as-needed
for program in first last as_needed registered; do
  run "programs/$program" "$models/step.pt" || fail "$program"
done
for program in classify classify_as_needed; do
  run "programs/$program" "$models/classify/model.pt" "$models/classify/0.png" || fail "$program"
done
if command -v clang++ >/dev/null; then
  build examples examples-clang training_step "$wheel" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=clang++
  run examples-clang/training_step "$models/step.pt"
  build stranger programs-clang as_needed "$wheel" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=clang++
  run programs-clang/as_needed "$models/step.pt" || fail "clang++"
  build stranger programs-clang classify_as_needed "$wheel" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=clang++
  run programs-clang/classify_as_needed "$models/classify/model.pt" "$models/classify/0.png" || fail "clang++"
fi

# Dropped by the linker, and what helps.
expect_message "Unknown builtin op: paco::" programs/dropped "$models/step.pt"
run programs/dropped "$models/step.pt" "$wheel/lib/libpaco.so" || fail "dlopen"

# Libraries that are not found, and what helps.
cmake --install programs --prefix "$work/installed" >/dev/null
installed=installed/bin/installed
cannot_open="cannot open shared object file"
expect_message "libpaco.so: $cannot_open" $installed "$models/step.pt"
expect_message "libc10.so: $cannot_open" LD_LIBRARY_PATH="$wheel/lib" $installed "$models/step.pt"
run LD_LIBRARY_PATH="$wheel/lib:$torch/lib" $installed "$models/step.pt" || fail "LD_LIBRARY_PATH"
run ${installed}_with_folders "$models/step.pt" || fail "INSTALL_RPATH_USE_LINK_PATH"

image="$models/classify/0.png"
classify=installed/bin/classify_installed
expect_message "libpaco_classify.so: $cannot_open" $classify "$models/classify/model.pt" "$image"
run LD_LIBRARY_PATH="$wheel/lib:$torch/lib" $classify "$models/classify/model.pt" "$image" || fail "LD_LIBRARY_PATH"
run ${classify}_with_folders "$models/classify/model.pt" "$image" || fail "INSTALL_RPATH_USE_LINK_PATH"
expect_message "operators of libpaco" programs/classify "$models/step.pt" "$image"

# Another PyTorch, or none, when the program starts and when CMake configures it.
expect_message "was built for PyTorch" LD_PRELOAD=programs/libother_torch.so programs/first "$models/step.pt"
mkdir -p other/share/cmake/Torch other/include/torch/headeronly
ln -s "$torch/lib" other/lib
touch other/share/cmake/Torch/TorchConfig.cmake
echo '#define TORCH_VERSION "2.1.0"' >other/include/torch/headeronly/version.h
expect_message "Rebuild libpaco" PATH="$PATH" cmake -S stranger -B mismatch \
  -DCMAKE_PREFIX_PATH="$wheel" -DTorch_DIR="$work/other/share/cmake/Torch"
sed -i 's/COMPONENTS classify/COMPONENTS classify cloud/' stranger/CMakeLists.txt
expect_message "none that is called cloud" PATH="$PATH" cmake -S stranger -B component \
  -DCMAKE_PREFIX_PATH="$wheel"
rm "site packages/torch"
expect_message "PyTorch is needed: add its torch.utils.cmake_prefix_path" PATH="$PATH" cmake -S stranger -B none \
  -DCMAKE_PREFIX_PATH="$wheel"

# Another ABI of std::string than PyTorch's.
expect_message "drop -D_GLIBCXX_USE_CXX11_ABI=0" PATH="$PATH" c++ -std=c++20 -D_GLIBCXX_USE_CXX11_ABI=0 \
  -I"$wheel/include" -fsyntax-only stranger/registered.cpp

[[ ! -e python-was-called ]] || fail "Python was called: $(cat python-was-called)"
for program in first classify; do
  ldd programs/$program | grep -q python && fail "a program links Python"
done
ldd programs/first | grep -q opencv && fail "libpaco links OpenCV"
ldd programs/classify | grep -q libpaco.so && fail "libpaco_classify links libpaco"
echo "a stranger's project works"
