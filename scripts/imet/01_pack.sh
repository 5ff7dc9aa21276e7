#!/usr/bin/env bash
# Packs the training images in folds that share out every label, and makes the first day's statistics.
# Needs: DATA_DIR (the demo renders its own). Makes: STORES/*/train, STORES/first_day.
source "$(dirname "$0")/settings.sh"
if [[ $DEMO ]]; then
  "$PYTHON" -m records.demo_artworks --out_dir="$DATA_DIR" --overwrite
fi
pack "$FIRST" --out_dir="$TRAIN" ${DEMO:+--overwrite}
"$PYTHON" -m reports.first_day --data_tfrec_dir="$TRAIN" --out_dir="$STORES/first_day"
