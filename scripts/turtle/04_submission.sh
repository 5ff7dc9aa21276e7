#!/usr/bin/env bash
# The mean of all folds, of each network and of all networks; scored out of fold, and written to submit.
# Needs: 03. Makes: RUNS/RECIPE and RUNS/ensemble, with folds.csv and submission.csv; RUNS/scores.csv.
source "$(dirname "$0")/settings.sh"
for recipe in $RECIPES; do
  needs "$(run_dir folds "$recipe")/folds.csv" 02_train.sh
  needs "$(store "$recipe" test)" 03_predict.sh
  together "$(basename "$recipe" .args)" "$recipe"
done
together ensemble $RECIPES
