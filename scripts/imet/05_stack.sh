#!/usr/bin/env bash
# The stacking networks: one for each group of labels, one over all, and both averaged (7th place).
# Needs: 03. Makes: RUNS/stack_groups, RUNS/stack_all, RUNS/stack_both; rows of RUNS/scores.csv.
source "$(dirname "$0")/settings.sh"
needs "$TEST" 03_predict.sh
together stack_groups stack "$(members folds $RECIPES)" --stack=cnn_groups
together stack_all stack "$(members folds $RECIPES)" --stack=cnn
together stack_both ensemble "$RUNS/stack_groups,$RUNS/stack_all"
