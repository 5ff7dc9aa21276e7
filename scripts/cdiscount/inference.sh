#!/usr/bin/env bash
# Names the products of DATA_DIR/test.bson with the runs of training.sh; run_inference.sh with SYSTEM=cdiscount.
# The submission is RUNS/all/submission.csv.
set -euo pipefail
source "$(dirname "$0")/../stages.sh"
stages 06 07
