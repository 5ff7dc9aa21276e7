#!/usr/bin/env bash
# Finds the characters of the test pages, and packs what is in the boxes for every classifier.
# Needs: 02. Makes: STORES/*/test, STORES/detections/test.csv.
source "$(dirname "$0")/settings.sh"
needs "$RUNS/detector/run.json" 02_train_detector.sh
pack "$DETECTOR" --source=test --out_dir="$(store "$DETECTOR" test)" ${DEMO:+--overwrite}
run "$DETECTOR" --data_tfrec_dir="$(store "$DETECTOR" test)" --run_dir="$RUNS/detector" --job=detect \
  --data_preds_dir="$STORES/detections"
for recipe in $(packings); do
  pack "$recipe" --source=test --out_dir="$(store "$recipe" test)" --overwrite \
    --detections="$STORES/detections/test.csv"
done
