#!/usr/bin/env bash
# Trains at once, and with an interruption: check_training.sh TRAIN DIGITS
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/once" "$folder/twice"
once=$("$1" "$2" "$folder/once/trained.pt" --epochs 5)
"$1" "$2" "$folder/twice/trained.pt" --epochs 5 --until 2 >"$folder/first"
twice=$("$1" "$2" "$folder/twice/trained.pt" --epochs 5)
[[ $once == "$twice" ]] || { printf '%s\nand resumed\n%s\n' "$once" "$twice"; exit 1; }
for file in trained.pt trained.pt.checkpoint; do
  cmp "$folder/once/$file" "$folder/twice/$file"
done
grep -q "mean per-class accuracy:  all .* many .* medium .* few " <<<"$once"
echo "$once"
