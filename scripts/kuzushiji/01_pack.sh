#!/usr/bin/env bash
# Packs the training pages, whole and as crops of every size that RECIPES ask for.
# Needs: DATA_DIR (the demo renders its own). Makes: STORES/*/train.
source "$(dirname "$0")/settings.sh"
if [[ $DEMO ]]; then
  "$PYTHON" -m records.demo_pages --out_dir="$DATA_DIR" --train_pages="$TRAIN_PAGES" \
    --test_pages="$TEST_PAGES" --overwrite
fi
for recipe in $DETECTOR $(packings); do
  pack "$recipe" --out_dir="$(store "$recipe" train)" ${DEMO:+--overwrite}
done
