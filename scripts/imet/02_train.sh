#!/usr/bin/env bash
# Trains every network of both solutions once per fold.
# Needs: 01. Makes: RUNS/folds/RECIPE. A second call passes over the finished and goes on with the others.
source "$(dirname "$0")/settings.sh"
needs "$TRAIN" 01_pack.sh
for recipe in $RECIPES "$NOISY"; do
  train_folds "$recipe" "$(run_dir folds "$recipe")" ${TRAIN_OPTIONS:-}
done
