#!/usr/bin/env bash
# Trains on several GPUs of this machine, a process on each:
#     tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# On several machines, on each of them with its own NODE_RANK:
#     NNODES=2 NODE_RANK=0 MASTER_ADDR=host PORT=29500 tools/dist_train.sh CONFIG GPUS [options]
set -euo pipefail

if (($# < 2)); then
  echo "usage: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]" >&2
  exit 2
fi
config=$1 gpus=$2
shift 2

tools=$(dirname "$0")
exec "$tools/launch.sh" "$gpus" "$tools/train.py" "$config" "$@"
