#!/usr/bin/env bash
# Trains every network once per fold, and scores it on what each fold did not train on.
# Needs: 01. Makes: RUNS/folds/RECIPE. A second call passes over the finished and goes on with the others.
source "$(dirname "$0")/settings.sh"
for recipe in $RECIPES; do
  needs "$(store "$recipe" train)" 01_pack.sh
  run "$recipe" --data_tfrec_dir="$(store "$recipe" train)" --n_folds="$N_FOLDS" \
    --run_dir="$(run_dir folds "$recipe")" --job=train,val ${TRAIN_OPTIONS:-}
done
