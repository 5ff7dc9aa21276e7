#!/usr/bin/env bash
# The whole inference: finds the characters of the test pages, reads them, writes submission.csv, draws
# a page, and scores where the truth is known. Without anything given, the demo's test pages with the
# newest runs, read in two ways: by the detector alone, and by the classifier in the detector's boxes.
# Arguments are passed on to run.py. With the Kaggle files:
#   DATA_DIR=/path/to/kaggle DETECTOR=recipes/kuzushiji/centernet_resnet101d.args \
#     RECIPE=recipes/kuzushiji/02_resnet152_gray112.args bash run_inference.sh
# A detector's recipe as RECIPE reads with it alone. RUN_DIR and DETECTOR_RUN_DIR name the runs (default:
# the newest). BOXES_CSV (image_id,labels with U+XXXX x y w h ...; only its boxes are used) takes the
# place of DETECTOR. TRUTH_CSV, the same form, is scored against. DETECTOR_OPTIONS: options of run.py for
# the detector alone, such as --threshold=0.3. STORES: folder of the packed records.
# With the last classifiers of a whole system (run_training.sh): SYSTEM=kuzushiji bash run_inference.sh
set -euo pipefail
cd "$(dirname "$0")"
if [[ ${SYSTEM:-} ]]; then
  source scripts/stages.sh
  whole inference "$@"
fi
source scripts/recipe.sh

alone=  # a detector that reads by itself
if [[ $(option task "$RECIPE") == detect ]]; then
  [[ -z $DETECTOR ]] || fail "$RECIPE finds by itself: leave DETECTOR=$DETECTOR out"
  DETECTOR=$RECIPE DETECTOR_RUN_DIR=${DETECTOR_RUN_DIR:-${RUN_DIR:-}} alone=yes
fi
if [[ ${BOXES_CSV:-} ]]; then
  [[ -z $DETECTOR ]] || fail "BOXES_CSV=$BOXES_CSV gives the boxes: leave out $DETECTOR, which finds some"
elif [[ -z $DETECTOR ]]; then
  fail "what finds the characters? Give DETECTOR=RECIPE or BOXES_CSV=FILE"
fi
if [[ $DEMO ]]; then
  TRUTH_CSV=${TRUTH_CSV:-$DATA_DIR/test.csv}
  UNREAD_CSV=${UNREAD_CSV:-$DATA_DIR/test_unread.csv}
fi
common=(--data_dir="$DATA_DIR")
score=
if [[ ${TRUTH_CSV:-} ]]; then
  common+=(--truth_csv="$TRUTH_CSV" ${UNREAD_CSV:+--unread_csv="$UNREAD_CSV"})
  score=,score
fi
if [[ $DETECTOR ]]; then
  submit=,submit
  if [[ $(option classes "$DETECTOR") == none ]]; then
    submit=
  fi
  found=$STORES/detections/$(basename "$DETECTOR" .args)
  detector=(--data_tfrec_dir="$(store "$DETECTOR" test)" "@$DETECTOR" "${common[@]}"
            ${DETECTOR_RUN_DIR:+--run_dir="$DETECTOR_RUN_DIR"} --data_preds_dir="$found"
            --job="detect$submit$score" "$@" ${DETECTOR_OPTIONS:-})
  check "${detector[@]}"
fi
reader=(--data_tfrec_dir="$(store "$RECIPE" test)" "@$RECIPE" "${common[@]}"
        ${RUN_DIR:+--run_dir="$RUN_DIR"} --job="test,submit$score" "$@")
if [[ ! $alone ]]; then
  check "${reader[@]}"
fi

pack() {  # pack RECIPE OPTION...: the test pages
  "$PYTHON" create_tfrecords.py "@$(packing "$1")" --source=test --data_dir="$DATA_DIR" \
    --out_dir="$(store "$1" test)" "${@:2}"
}
if [[ $DETECTOR ]]; then
  pack "$DETECTOR" ${DEMO:+--overwrite}
  "$PYTHON" run.py "${detector[@]}"
fi
if [[ ${BOXES_CSV:-} ]]; then
  pack "$RECIPE" --csv="$BOXES_CSV" ${DEMO:+--overwrite}
elif [[ ! $alone ]]; then
  pack "$RECIPE" --detections="$found/test.csv" --overwrite
fi
if [[ ! $alone ]]; then
  "$PYTHON" run.py "${reader[@]}"
fi
