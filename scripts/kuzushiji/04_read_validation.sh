#!/usr/bin/env bash
# Finds and reads the characters of the detector's validation pages, by the classifiers that validate on
# the same pages: those that have not been trained on them.
# Needs: 02, 03. Makes: STORES/*/val, RUNS/first/validation (or the one classifier's predictions).
source "$(dirname "$0")/settings.sh"
needs "$RUNS/detector/run.json" 02_train_detector.sh
readers=$(for recipe in $RECIPES; do
  if [[ $(option split "$recipe") == "$(option split "$DETECTOR")" ]]; then echo "$recipe"; fi
done)
[[ $readers ]] || fail "no classifier validates on the same --split as $DETECTOR"
run "$DETECTOR" --data_tfrec_dir="$(store "$DETECTOR" train)" --run_dir="$RUNS/detector" --job=detect \
  --only_val=on --data_preds_dir="$STORES/detections"
RECIPES=$readers
for recipe in $(packings); do
  pack "$recipe" --source=test --name=val --out_dir="$(store "$recipe" val)" --overwrite \
    --csv="$STORES/detections/train_val_pages.csv" --image_dir="$DATA_DIR/train_images" \
    --detections="$STORES/detections/train_val.csv"
done
read_boxes first val validation $readers
