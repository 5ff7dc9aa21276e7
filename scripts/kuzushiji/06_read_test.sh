#!/usr/bin/env bash
# Finds and reads the characters of the test pages, by the classifiers of the first training.
# Needs: 02, 03, 05. Makes: STORES/*/test, RUNS/first/ensemble.
source "$(dirname "$0")/settings.sh"
needs "$RUNS/rescorer" 05_false_positives.sh
pack "$DETECTOR" --source=test --out_dir="$(store "$DETECTOR" test)" ${DEMO:+--overwrite}
run "$DETECTOR" --data_tfrec_dir="$(store "$DETECTOR" test)" --run_dir="$RUNS/detector" --job=detect \
  --data_preds_dir="$STORES/detections"
for recipe in $(packings); do
  pack "$recipe" --source=test --out_dir="$(store "$recipe" test)" --overwrite \
    --detections="$STORES/detections/test.csv"
done
first=$(first_recipe)
alone=$(run_dir first "$first")
if [[ $TRUTH_CSV ]]; then  # what each addition is worth, for the table
  rm -f "$TABLE"
  run "$first" --data_tfrec_dir="$(store "$first" test)" --run_dir="$alone" --job=test
  submit "detector + one classifier" "$alone"
fi
read_boxes first test ensemble $RECIPES
if [[ $TRUTH_CSV ]]; then
  submit "+ views ($VIEWS)" "$alone"
  submit "+ ensemble" "$RUNS/first/ensemble"
fi
submit "+ false-positive predictor" "$RUNS/first/ensemble" --rescorer="$RUNS/rescorer"
