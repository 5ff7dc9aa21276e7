#!/usr/bin/env bash
# The groups' networks joined, and LightGBM on a row per image and label over all networks (1st place).
# Needs: 07. Makes: RUNS/joined, RUNS/lightgbm; rows of RUNS/scores.csv.
source "$(dirname "$0")/settings.sh"
joined=
for group in $GROUPS_OF_LABELS; do
  needs "$RUNS/folds/$group/folds.csv" 07_groups.sh
  joined+=,$RUNS/folds/$group
done
together joined ensemble "${joined#,}"
together lightgbm stack "$(members folds $RECIPES "$NOISY"),$RUNS/joined" --stack=lightgbm \
  --stack_rows="$STACK_ROWS"
