#!/usr/bin/env bash
# Starts a process on each GPU of this machine, for dist_train.sh and dist_test.sh:
#     tools/launch.sh GPUS PROGRAM.py [arguments]
# NNODES is set where several machines take part; each has its own NODE_RANK, and all have the
# MASTER_ADDR and PORT of the first.
set -euo pipefail
gpus=$1
shift

if [[ -n ${NNODES:-} ]]; then
  group=(--nnodes "$NNODES" --node_rank "${NODE_RANK:-0}"
    --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}")
else  # on a free port, whatever else runs here
  group=(--standalone --local_addr 127.0.0.1)
fi

"$(dirname "$0")/require_torch.sh"
exec python -m torch.distributed.run --nproc_per_node "$gpus" "${group[@]}" "$@" --launcher pytorch
