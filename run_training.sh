#!/usr/bin/env bash
# The whole training of a recipe: set-up, packing, training, validation. Without anything given, the
# demo, on pages that are rendered first. Arguments are passed on to run.py:
#   bash run_training.sh --tpu_ip_or_name=None --batch_size=64
# With the Kaggle files:
#   DATA_DIR=/path/to/kaggle RECIPE=recipes/kuzushiji/02_resnet152_gray112.args bash run_training.sh
# Also from the environment: STORE (folder of the packed records), RUN_DIR (default: a new one).
set -euo pipefail
cd "$(dirname "$0")"
source scripts/recipe.sh

options=("@$RECIPE" --data_tfrec_dir="$STORE/train" ${RUN_DIR:+--run_dir="$RUN_DIR"}
         --job=train,val "$@")
"$PYTHON" -m jobs.options "${options[@]}"  # refused now rather than after the packing
if [[ $DEMO ]]; then
  "$PYTHON" -m records.demo_pages --out_dir="$DATA_DIR" --overwrite
fi
"$PYTHON" create_tfrecords.py "@$PACK" --data_dir="$DATA_DIR" --out_dir="$STORE/train" \
  ${DEMO:+--overwrite}
"$PYTHON" run.py "${options[@]}"
