#!/usr/bin/env bash
# What someone meets who uses an installed libpaco: run.sh CMAKE_PREFIX_PATH MODELS
#
# Builds examples/cpp and the programs of this folder in a new folder, with a space in its name, and
# runs them without anything of the caller's environment. MODELS is what export_models.py wrote.
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

fail() { echo "FAILED: $*" >&2; exit 1; }
build() {  # source, build folder, target, further options
  cmake -S "$1" -B "$2" -DCMAKE_PREFIX_PATH="$prefixes" "${@:4}" >"$2.log" 2>&1 &&
    cmake --build "$2" --target "$3" --parallel 2 >>"$2.log" 2>&1 ||
    { cat "$2.log"; fail "building $2"; }
}
run() { env -i "$@"; }
expect_message() {  # text, command: the command fails and says the text
  local output
  output=$(run "${@:2}" 2>&1) && fail "'${*:2}' should have failed"
  output=$(tr -s '[:space:]' ' ' <<<"$output")  # CMake breaks lines
  [[ $output == *"$1"* ]] || fail "'${*:2}' said: $output"
}

build examples examples-release all -DCMAKE_BUILD_TYPE=Release
run examples-release/classify "$models/classifier.pt" "$models/images.pt"
run examples-release/training_step "$models/step.pt"
if command -v clang++ >/dev/null; then
  build examples examples-clang training_step -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=clang++
  run examples-clang/training_step "$models/step.pt"
fi

build stranger programs all -DCMAKE_EXE_LINKER_FLAGS=-Wl,--as-needed
for program in first last as_needed registered; do
  run "programs/$program" "$models/step.pt" || fail "$program"
done
libpaco=$(sed -n 's/^libpaco:FILEPATH=//p' programs/CMakeCache.txt)
expect_message "Unknown builtin op: paco::" programs/dropped "$models/step.pt"
run programs/dropped "$models/step.pt" "$libpaco" || fail "dlopen"

# Another PyTorch, when the program starts and when CMake configures it.
expect_message "was built for PyTorch" LD_PRELOAD=programs/libother_torch.so programs/first "$models/step.pt"
torch=$(sed -n 's/^Torch_DIR:PATH=//p' programs/CMakeCache.txt)/../../..
mkdir -p other/share/cmake/Torch other/include/torch/headeronly
ln -s "$(realpath "$torch")/lib" other/lib
touch other/share/cmake/Torch/TorchConfig.cmake
echo '#define TORCH_VERSION "2.11.0"' >other/include/torch/headeronly/version.h
expect_message "Rebuild libpaco" PATH="$PATH" cmake -S stranger -B mismatch \
  -DCMAKE_PREFIX_PATH="$prefixes" -DTorch_DIR="$work/other/share/cmake/Torch"
echo "a stranger's project works"
