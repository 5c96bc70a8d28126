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

if [[ -n ${NNODES:-} ]]; then
  group=(--nnodes "$NNODES" --node_rank "${NODE_RANK:-0}"
    --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}")
else  # on a free port, whatever else runs here
  group=(--standalone --local_addr 127.0.0.1)
fi

exec python -m torch.distributed.run \
  --nproc_per_node "$gpus" "${group[@]}" \
  "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
