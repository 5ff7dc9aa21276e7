#!/usr/bin/env bash
# System A from the pages to the last submission: stages 01 to 10. Without DATA_DIR the demo, small:
#   bash scripts/kuzushiji/all.sh
#   SCALE=large bash scripts/kuzushiji/all.sh
#   DATA_DIR=/path/to/kaggle OPTIONS=--tpu_ip_or_name=None bash scripts/kuzushiji/all.sh
set -euo pipefail
for stage in "$(dirname "$0")"/{0[1-9],10}_*.sh; do
  echo "== $(basename "$stage" .sh): $(sed -n '2s/^# //p' "$stage")"
  bash "$stage"
done
