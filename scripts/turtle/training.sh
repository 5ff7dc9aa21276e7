#!/usr/bin/env bash
# System B from the photographs to the submission; run_training.sh with SYSTEM=turtle. settings.sh tells
# what may be set.
set -euo pipefail
source "$(dirname "$0")/../stages.sh"
stages 01 02 03 04
