#!/usr/bin/env bash
# Refines every classifier: a short training at a low rate, without augmentation, in which pseudo labels
# count a little less.
# Needs: 09. Makes: RUNS/refined/RECIPE.
source "$(dirname "$0")/settings.sh"
for recipe in $RECIPES; do
  needs "$(run_dir pseudo "$recipe")/run.json" 09_train_again.sh
  run "$recipe" @recipes/kuzushiji/refine.args --init_from="$(run_dir pseudo "$recipe")" \
    --data_tfrec_dir="$(store "$recipe" train)" --pseudo_tfrec_dir="$(store "$recipe" pseudo)" \
    --run_dir="$(run_dir refined "$recipe")" --job=train,val ${REFINE_OPTIONS:-}
done
