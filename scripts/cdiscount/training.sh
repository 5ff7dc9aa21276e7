#!/usr/bin/env bash
# System E from the products to the submission; run_training.sh with SYSTEM=cdiscount. settings.sh tells what may
# be set.
set -euo pipefail
source "$(dirname "$0")/../stages.sh"
stages 01 02 03 04 05 06 07
