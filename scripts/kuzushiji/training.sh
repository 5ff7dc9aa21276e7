#!/usr/bin/env bash
# System A from the pages to the last classifiers, and what each addition was worth on the test pages;
# run_training.sh with SYSTEM=kuzushiji. settings.sh tells what may be set.
set -euo pipefail
source "$(dirname "$0")/../stages.sh"
stages 01 02 03 04 05 06 07 08 09 10 11
