#!/usr/bin/env bash
# First training of every classifier.
# Needs: 01. Makes: RUNS/first/RECIPE. A second call passes over the finished and goes on with the others.
source "$(dirname "$0")/settings.sh"
for recipe in $RECIPES; do
  needs "$(store "$recipe" train)" 01_pack.sh
  run "$recipe" --data_tfrec_dir="$(store "$recipe" train)" --run_dir="$(run_dir first "$recipe")" \
    --job=train,val ${CLASSIFIER_OPTIONS:-}
done
