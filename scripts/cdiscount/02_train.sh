#!/usr/bin/env bash
# Trains every network on single images.
# Needs: 01. Makes: RUNS/single/RECIPE. A second call passes over the finished and goes on with the others.
source "$(dirname "$0")/settings.sh"
needs "$TRAIN" 01_pack.sh
for recipe in $RECIPES; do
  run "$recipe" --data_tfrec_dir="$TRAIN" --run_dir="$(run_dir single "$recipe")" --job=train,val \
    ${TRAIN_OPTIONS:-}
done
