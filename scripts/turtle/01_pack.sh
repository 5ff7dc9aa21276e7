#!/usr/bin/env bash
# Packs the training photographs in stratified folds.
# Needs: DATA_DIR (the demo renders its own). Makes: STORES/*/train.
source "$(dirname "$0")/settings.sh"
if [[ $DEMO ]]; then
  "$PYTHON" -m records.demo_turtles --out_dir="$DATA_DIR" --overwrite
fi
for recipe in $(packings); do
  pack "$recipe" --out_dir="$(store "$recipe" train)" ${DEMO:+--overwrite}
done
