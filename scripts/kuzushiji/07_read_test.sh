#!/usr/bin/env bash
# Reads the test pages by the classifiers of the first training, alone and together.
# Needs: 03, 05, 06. Makes: RUNS/first/ensemble; where the truth is known, the first rows of RUNS/scores.csv.
source "$(dirname "$0")/settings.sh"
needs "$RUNS/rescorer" 05_false_positives.sh
first=$(first_recipe)
needs "$(store "$first" test)" 06_find_test.sh
alone=$(run_dir first "$first")
if [[ $TRUTH_CSV ]]; then  # what each addition is worth
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
