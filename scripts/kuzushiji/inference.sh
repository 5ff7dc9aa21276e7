#!/usr/bin/env bash
# Finds and reads the pages in DATA_DIR/test_images with the classifiers of training.sh; run_inference.sh
# with SYSTEM=kuzushiji. The submission is RUNS/refined/ensemble/submission.csv.
set -euo pipefail
source "$(dirname "$0")/../stages.sh"
stages 06 11
