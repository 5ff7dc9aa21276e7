#!/usr/bin/env bash
# Of which books are the test pages? A classifier of whole pages into the training books tells.
# Needs: DATA_DIR. Makes: STORES/titles, RUNS/titles with distribution/test.csv and .png.
source "$(dirname "$0")/settings.sh"
titles=${TITLES:-$([[ $DEMO ]] && echo recipes/demo/book_titles.args || echo recipes/kuzushiji/book_titles.args)}
for part in train test; do
  pack "$titles" --source=$part --out_dir="$(store "$titles" $part)" ${DEMO:+--overwrite}
done
run "$titles" --data_tfrec_dir="$(store "$titles" train)" --run_dir="$RUNS/titles" --job=train,val
run "$titles" --data_tfrec_dir="$(store "$titles" test)" --run_dir="$RUNS/titles" --job=test,distribution
