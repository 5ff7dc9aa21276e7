#!/usr/bin/env bash
# Labels the images that DATA_DIR/sample_submission.csv names with the runs of training.sh;
# run_inference.sh with SYSTEM=imet. The submissions are RUNS/*/submission.csv.
set -euo pipefail
source "$(dirname "$0")/../stages.sh"
export FITTED=yes
stages 03 04 05 08
