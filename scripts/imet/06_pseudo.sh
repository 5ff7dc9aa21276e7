#!/usr/bin/env bash
# Labels the test images with the best of the networks together, and packs them for the groups' training
# (1st place).
# Needs: 05. Makes: STORES/*/pseudo.
source "$(dirname "$0")/settings.sh"
needs "$RUNS/stack_both/run.json" 05_stack.sh
run "$FIRST" --data_tfrec_dir="$TEST" --run_dir="$RUNS/stack_both" --job=pseudo --pseudo_probability="$PROBABILITY"
pack "$FIRST" --pseudo="$RUNS/stack_both/pseudo/test.csv" --out_dir="$(store "$FIRST" pseudo)" --overwrite
