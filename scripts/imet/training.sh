#!/usr/bin/env bash
# System C from the images to the second levels and their submissions; run_training.sh with SYSTEM=imet.
# settings.sh tells what may be set.
set -euo pipefail
source "$(dirname "$0")/../stages.sh"
stages 01 02 03 04 05 06 07 08
