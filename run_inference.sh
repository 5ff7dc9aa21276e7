#!/usr/bin/env bash
# The whole inference of a recipe: packs the test pages, predicts, writes submission.csv, draws a
# page, and scores where the truth is known. Without anything given, the demo's test pages with the
# newest run. Arguments are passed on to run.py. With the Kaggle files:
#   DATA_DIR=/path/to/kaggle BOXES_CSV=boxes.csv RUN_DIR=runs/NAME \
#     RECIPE=recipes/kuzushiji/02_resnet152_gray112.args bash run_inference.sh
# BOXES_CSV has image_id,labels (U+XXXX x y w h ...); only its boxes are used. TRUTH_CSV, the same
# form, is scored against.
set -euo pipefail
cd "$(dirname "$0")"
source scripts/recipe.sh

if [[ $DEMO ]]; then
  BOXES_CSV=${BOXES_CSV:-$DATA_DIR/test.csv}
  TRUTH_CSV=${TRUTH_CSV:-$DATA_DIR/test.csv}
fi
if [[ -z ${BOXES_CSV:-} ]]; then
  echo "run_inference.sh: the test pages have no boxes yet: give BOXES_CSV=FILE (see its head)" >&2
  exit 1
fi
options=("@$RECIPE" --data_tfrec_dir="$STORE/test" --data_dir="$DATA_DIR"
         ${RUN_DIR:+--run_dir="$RUN_DIR"} ${TRUTH_CSV:+--truth_csv="$TRUTH_CSV"}
         --job="test,submit${TRUTH_CSV:+,score}" "$@")
"$PYTHON" -m jobs.options "${options[@]}"  # refused now rather than after the packing
"$PYTHON" create_tfrecords.py "@$PACK" --source=test --data_dir="$DATA_DIR" --csv="$BOXES_CSV" \
  --out_dir="$STORE/test" ${DEMO:+--overwrite}
"$PYTHON" run.py "${options[@]}"
