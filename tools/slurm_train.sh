#!/usr/bin/env bash
# Trains on a Slurm cluster, a task on each GPU:
#     GPUS=4 tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
# GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS (further options of srun) are read as well.
set -euo pipefail

if (($# < 4)); then
  echo "usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]" >&2
  exit 2
fi
partition=$1 job_name=$2 config=$3 work_dir=$4
shift 4
tools=$(dirname "$0")
"$tools/require_torch.sh"
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}

# SRUN_ARGS is several words.
# shellcheck disable=SC2086
exec srun \
  --partition "$partition" \
  --job-name "$job_name" \
  --ntasks "$gpus" \
  --ntasks-per-node "$per_node" \
  --gres "gpu:$per_node" \
  --cpus-per-task "${CPUS_PER_TASK:-5}" \
  --kill-on-bad-exit=1 \
  ${SRUN_ARGS:-} \
  python -u "$tools/train.py" "$config" --work-dir "$work_dir" --launcher slurm "$@"
