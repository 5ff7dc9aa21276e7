#!/usr/bin/env bash
# A network for each group of labels, from the weights of the joint one of the same fold, with binary
# cross-entropy and pseudo labels (1st place).
# Needs: 06. Makes: RUNS/folds/GROUP.
source "$(dirname "$0")/settings.sh"
needs "$(store "$FIRST" pseudo)" 06_pseudo.sh
for group in $GROUPS_OF_LABELS; do
  train_folds "$NOISY" "$RUNS/folds/$group" ${TRAIN_OPTIONS:-} --loss=bce --label_group="$group" \
    --init_from="$(run_dir folds "$NOISY")" --pseudo_tfrec_dir="$(store "$FIRST" pseudo)" $GROUP_OPTIONS
  run "$FIRST" --data_tfrec_dir="$TEST" --n_folds="$N_FOLDS" --run_dir="$RUNS/folds/$group" --job=test
done
