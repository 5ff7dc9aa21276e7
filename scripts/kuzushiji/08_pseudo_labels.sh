#!/usr/bin/env bash
# Labels the test pages with what was read surely there, and packs it for the second training.
# Needs: 07. Makes: RUNS/first/ensemble/pseudo, STORES/*/pseudo.
source "$(dirname "$0")/settings.sh"
needs "$RUNS/first/ensemble/run.json" 07_read_test.sh
first=$(first_recipe)
run "$first" --data_tfrec_dir="$(store "$first" test)" --run_dir="$RUNS/first/ensemble" --job=pseudo \
  --rescorer="$RUNS/rescorer" --pseudo_probability="$PROBABILITY"
for recipe in $(packings); do
  pack "$recipe" --pseudo="$RUNS/first/ensemble/pseudo/test.csv" --out_dir="$(store "$recipe" pseudo)" \
    --overwrite
done
