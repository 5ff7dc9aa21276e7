#!/usr/bin/env bash
# Trains the detector of characters.
# Needs: 01. Makes: RUNS/detector. A second call goes on where the first was cut off.
source "$(dirname "$0")/settings.sh"
needs "$(store "$DETECTOR" train)" 01_pack.sh
for job in train val; do  # a call for each: see run.py about CPUs
  run "$DETECTOR" --data_tfrec_dir="$(store "$DETECTOR" train)" --run_dir="$RUNS/detector" --job=$job \
    ${DETECTOR_OPTIONS:-}
done
