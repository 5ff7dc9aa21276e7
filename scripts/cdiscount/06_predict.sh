#!/usr/bin/env bash
# Predicts the test products with every run.
# Needs: 05. Makes: STORES/*/test, STORES/found/test, RUNS/*/RECIPE/predictions.
source "$(dirname "$0")/settings.sh"
needs "$RUNS/$(phase "$WITH_TEXT")" 05_with_text.sh
pack "$FIRST" --source=test --out_dir="$TEST" --overwrite
words_seen test
for recipe in $RECIPES; do
  for products in single $PRODUCTS; do
    run "$recipe" --data_tfrec_dir="$TEST" --run_dir="$(run_dir "$(phase "$products")" "$recipe")" --job=test
  done
  run "$recipe" --data_tfrec_dir="$TEST" --run_dir="$(run_dir "$(phase "$WITH_TEXT")" "$recipe")" --job=test \
    --aux_features="$(vectors test)"
done
