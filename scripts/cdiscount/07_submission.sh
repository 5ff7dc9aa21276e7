#!/usr/bin/env bash
# The submission of all networks together, and of each step by itself.
# Needs: 06. Makes: RUNS/averaged, RUNS/joined, RUNS/with_text and RUNS/all, each with submission.csv; RUNS/scores.csv.
source "$(dirname "$0")/settings.sh"
single=$(members single $RECIPES) joined= text=$(members "$(phase "$WITH_TEXT")" $RECIPES)
for products in $PRODUCTS; do
  joined+=,$(members "$(phase "$products")" $RECIPES)
done
needs "$(run_dir single "$FIRST")/predictions" 06_predict.sh
if [[ $TRUTH_CSV ]]; then
  run "$FIRST" --data_tfrec_dir="$TEST" --run_dir="$(run_dir single "$FIRST")" --job=score \
    --truth_csv="$TRUTH_CSV" --score_csv="$TABLE" --score_name=single_images
fi
together averaged "$single"
together joined "${joined#,}"
together with_text "$text"
together all "$text$joined"
