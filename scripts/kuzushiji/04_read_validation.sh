#!/usr/bin/env bash
# Finds and reads the characters of pages that neither the detector nor the classifiers were trained on: those of
# VALIDATION_DIR, or else the detector's validation pages by the classifiers that validate on the same.
# Needs: 02, 03. Makes: STORES/*/val, RUNS/first/validation (or the one classifier's predictions).
source "$(dirname "$0")/settings.sh"
needs "$RUNS/detector/run.json" 02_train_detector.sh
readers=$RECIPES pages=$(store "$DETECTOR" train) found=$STORES/detections/train_val only_val=--only_val=on
if [[ $VALIDATION_DIR ]]; then
  if [[ ${VALIDATION_PAGES:-} ]]; then
    "$PYTHON" -m records.demo_pages --out_dir="$VALIDATION_DIR" --train_pages="$VALIDATION_PAGES" --books=3 \
      --test_pages=0 --test_books=0 --seed=2 --overwrite
  fi
  DATA_DIR=$VALIDATION_DIR pages=$(store "$DETECTOR" val) found=$STORES/detections/val only_val=
  pack "$DETECTOR" --source=test --name=val --out_dir="$pages" --overwrite --csv="$DATA_DIR/train.csv" \
    --image_dir="$DATA_DIR/train_images"
else
  readers=$(for recipe in $RECIPES; do
    if [[ $(option split "$recipe") == "$(option split "$DETECTOR")" ]]; then echo "$recipe"; fi
  done)
  [[ $readers ]] || fail "no classifier validates on the same --split as $DETECTOR"
fi
run "$DETECTOR" --data_tfrec_dir="$pages" --run_dir="$RUNS/detector" --job=detect $only_val \
  --data_preds_dir="$STORES/detections"
RECIPES=$readers
for recipe in $(packings); do
  pack "$recipe" --source=test --name=val --out_dir="$(store "$recipe" val)" --overwrite \
    --csv="${found}_pages.csv" --image_dir="$DATA_DIR/train_images" --detections="$found.csv"
done
read_boxes first val validation $readers
