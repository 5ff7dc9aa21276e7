#!/usr/bin/env bash
# Predicts the test images with every run.
# Needs: 02. Makes: STORES/*/test, RUNS/folds/RUN/fold*/predictions.
source "$(dirname "$0")/settings.sh"
needs "$(run_dir folds "$FIRST")/folds.csv" 02_train.sh
pack "$FIRST" --source=test --out_dir="$TEST" --overwrite
for folder in "$RUNS"/folds/*; do
  run "$FIRST" --data_tfrec_dir="$TEST" --n_folds="$N_FOLDS" --run_dir="$folder" --job=test
done
