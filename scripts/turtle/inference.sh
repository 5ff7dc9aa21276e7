#!/usr/bin/env bash
# Names the photographs of DATA_DIR/test.csv with the runs of training.sh; run_inference.sh with
# SYSTEM=turtle. The submission is RUNS/ensemble/submission.csv.
set -euo pipefail
source "$(dirname "$0")/../stages.sh"
stages 03 04
