#!/usr/bin/env bash
# Second training of every classifier, from the same start, with the pseudo-labelled crops.
# Needs: 08. Makes: RUNS/pseudo/RECIPE, RUNS/pseudo/ensemble.
source "$(dirname "$0")/settings.sh"
for recipe in $RECIPES; do
  needs "$(store "$recipe" pseudo)" 08_pseudo_labels.sh
  run "$recipe" --data_tfrec_dir="$(store "$recipe" train)" --pseudo_tfrec_dir="$(store "$recipe" pseudo)" \
    --run_dir="$(run_dir pseudo "$recipe")" --job=train,val ${CLASSIFIER_OPTIONS:-}
done
read_boxes pseudo test ensemble $RECIPES
submit "+ pseudo labels" "$RUNS/pseudo/ensemble" --rescorer="$RUNS/rescorer"
