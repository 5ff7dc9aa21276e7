#!/usr/bin/env bash
# Predicts the test photographs with every run, each as the mean of its test-time views.
# Needs: 02. Makes: STORES/*/test, RUNS/folds/RECIPE/fold*/predictions.
source "$(dirname "$0")/settings.sh"
for recipe in $RECIPES; do
  needs "$(run_dir folds "$recipe")/folds.csv" 02_train.sh
done
for recipe in $(packings); do
  pack "$recipe" --source=test --out_dir="$(store "$recipe" test)" --overwrite
done
for recipe in $RECIPES; do
  run "$recipe" --data_tfrec_dir="$(store "$recipe" test)" --n_folds="$N_FOLDS" \
    --run_dir="$(run_dir folds "$recipe")" --job=test --tta_number="$TTA"
done
