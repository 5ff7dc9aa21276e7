#!/usr/bin/env bash
# The whole training of a recipe: set-up, packing, training, validation. Without anything given, the
# demo, on pages that are rendered first: a detector, and a classifier of what it finds. Arguments are
# passed on to run.py:
#   bash run_training.sh --tpu_ip_or_name=None --batch_size=64
# With the Kaggle files:
#   DATA_DIR=/path/to/kaggle RECIPE=recipes/kuzushiji/02_resnet152_gray112.args bash run_training.sh
# Also from the environment: DETECTOR (a recipe that is trained first) and DETECTOR_OPTIONS (options of
# run.py for it alone), STORES (folder of the packed records), RUN_DIR and DETECTOR_RUN_DIR (default: new
# ones).
# A whole system, all of its stages (scripts/SYSTEM/settings.sh tells what may be set there), with the
# demo's pages or those in DATA_DIR:
#   SYSTEM=kuzushiji bash run_training.sh
set -euo pipefail
cd "$(dirname "$0")"
if [[ ${SYSTEM:-} ]]; then
  source scripts/stages.sh
  whole training "$@"
fi
source scripts/recipe.sh

reader=(--data_tfrec_dir="$(store "$RECIPE" train)" "@$RECIPE" ${RUN_DIR:+--run_dir="$RUN_DIR"}
        --job=train,val "$@")
if [[ $DETECTOR ]]; then
  detector=(--data_tfrec_dir="$(store "$DETECTOR" train)" "@$DETECTOR"
            ${DETECTOR_RUN_DIR:+--run_dir="$DETECTOR_RUN_DIR"} "$@" ${DETECTOR_OPTIONS:-})
  check --job=train "${detector[@]}"
fi
check "${reader[@]}"
if [[ $DEMO ]]; then
  "$PYTHON" -m records.demo_pages --out_dir="$DATA_DIR" --overwrite
fi
for recipe in $DETECTOR "$RECIPE"; do
  "$PYTHON" create_tfrecords.py "@$(packing "$recipe")" --data_dir="$DATA_DIR" \
    --out_dir="$(store "$recipe" train)" ${DEMO:+--overwrite}
done
if [[ $DETECTOR ]]; then
  for job in train val; do  # a call for each: run.py sets up a CPU in another way for the second
    "$PYTHON" run.py --job=$job "${detector[@]}"
  done
fi
"$PYTHON" run.py "${reader[@]}"
