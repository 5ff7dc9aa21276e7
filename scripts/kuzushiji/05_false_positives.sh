#!/usr/bin/env bash
# Fits the predictor of false positives on what was read on the validation pages.
# Needs: 04. Makes: RUNS/rescorer.
source "$(dirname "$0")/settings.sh"
first=$(first_recipe) reader=$RUNS/first/validation
if [[ ! -e $reader ]]; then
  reader=$(run_dir first "$first")
fi
needs "$(store "$first" val)" 04_read_validation.sh
run "$first" --data_tfrec_dir="$(store "$first" val)" --run_dir="$reader" --job=fit_rescorer \
  --rescorer="$RUNS/rescorer" --rescorer_trials="$TRIALS" --truth_csv="${VALIDATION_DIR:-$DATA_DIR}/train.csv"
