#!/usr/bin/env bash
# Tests on several GPUs of this machine, a process on each:
#     tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# On several machines, on each of them with its own NODE_RANK:
#     NNODES=2 NODE_RANK=0 MASTER_ADDR=host PORT=29500 tools/dist_test.sh CONFIG CHECKPOINT GPUS
set -euo pipefail

if (($# < 3)); then
  echo "usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]" >&2
  exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3

tools=$(dirname "$0")
exec "$tools/launch.sh" "$gpus" "$tools/test.py" "$config" "$checkpoint" "$@"
