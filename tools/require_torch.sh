#!/usr/bin/env bash
# Says what to do where python is not that of the environment; for launch.sh and slurm_train.sh.
if ! python -c "import importlib.util as i; exit(i.find_spec('torch') is None)" 2>/dev/null; then
  echo "python ($(command -v python || echo none on PATH)) has no torch: activate the" \
    "environment that paco is installed in" >&2
  exit 1
fi
