#!/usr/bin/env bash
# Each network alone, and their weighted mean (7th place).
# Needs: 03. Makes: RUNS/RECIPE, RUNS/weighted_mean; rows of RUNS/scores.csv.
source "$(dirname "$0")/settings.sh"
needs "$TEST" 03_predict.sh
for recipe in $RECIPES; do
  together "$(basename "$recipe" .args)" ensemble "$(run_dir folds "$recipe")"
done
together weighted_mean ensemble "$(members folds $RECIPES)" --member_weights=fit
