#!/usr/bin/env bash
# Packs the pictures of the training products.
# Needs: DATA_DIR (the demo renders its own). Makes: STORES/*/train.
source "$(dirname "$0")/settings.sh"
if [[ $DEMO ]]; then
  "$PYTHON" -m records.demo_products --out_dir="$DATA_DIR" --overwrite
fi
pack "$FIRST" --out_dir="$TRAIN" ${DEMO:+--overwrite}
