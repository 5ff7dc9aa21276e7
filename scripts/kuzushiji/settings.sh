# Sourced by every stage of system A: what it works on. From the environment:
#   DATA_DIR            folder with train.csv, train_images/, test_images/ of the Kuzushiji Recognition
#                       competition; without it the demo, on pages that are rendered first
#   SCALE               of the demo: small, or large: twice the training pages, three times the test pages,
#                       half as long again a training, and validation pages of three more hands
#   VALIDATION_DIR      folder with train.csv, train_images/ of annotated pages that nothing is trained on, which the
#                       predictor of false positives learns from (default: the detector's validation pages)
#   DETECTOR, RECIPES   recipes of the detector and of the classifiers
#   STORES, RUNS        folders of the packed records and of the runs
#   DETECTOR_OPTIONS, CLASSIFIER_OPTIONS, REFINE_OPTIONS   options of run.py that override the recipes
#   VIEWS               test-time views, see run.py --help
#   TRIALS              of the search for the parameters of the false-positive predictor
#   PROBABILITY         least one of a pseudo label
#   OPTIONS             options of run.py for every call, such as --tpu_ip_or_name=None
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

DEMO=
if [[ -z ${DATA_DIR:-} ]]; then
  DEMO=yes
  place=demo_whole
  DATA_DIR=data/$place/pages
  DETECTOR=${DETECTOR:-recipes/demo/detect_boxes.args}
  RECIPES=${RECIPES:-recipes/demo/classify.args recipes/demo/classify_second.args}
  PROBABILITY=${PROBABILITY:-0.8}
  TRIALS=${TRIALS:-20}
  TRAIN_PAGES=40 TEST_PAGES=8
  if [[ ${SCALE:-small} == small ]]; then
    DETECTOR_OPTIONS=${DETECTOR_OPTIONS:---n_epochs=4}
    CLASSIFIER_OPTIONS=${CLASSIFIER_OPTIONS:---n_epochs=2 --eval_crop=0.8571}
    REFINE_OPTIONS=${REFINE_OPTIONS:---n_epochs=2 --lr=1e-3 --eval_crop=0.8571}
  elif [[ $SCALE == large ]]; then
    TRAIN_PAGES=80 TEST_PAGES=24 place=demo_whole_large
    DATA_DIR=data/$place/pages
    if [[ -z ${VALIDATION_DIR:-} ]]; then
      VALIDATION_DIR=data/$place/validation_pages VALIDATION_PAGES=30  # rendered
    fi
    DETECTOR_OPTIONS=${DETECTOR_OPTIONS:---n_epochs=6 --validate_every_epochs=6}
    CLASSIFIER_OPTIONS=${CLASSIFIER_OPTIONS:---n_epochs=3 --eval_crop=0.8571}
    REFINE_OPTIONS=${REFINE_OPTIONS:---n_epochs=2 --lr=1e-3 --eval_crop=0.8571}
  else
    echo "$0: SCALE=$SCALE: it is small or large" >&2
    exit 2
  fi
else
  place=kuzushiji
  DETECTOR=${DETECTOR:-recipes/kuzushiji/centernet_boxes.args}
  RECIPES=${RECIPES:-$(echo recipes/kuzushiji/0[1-5]_*.args)}
  PROBABILITY=${PROBABILITY:-0.9}
  TRIALS=${TRIALS:-200}
fi
VIEWS=${VIEWS:-crops7}
VALIDATION_DIR=${VALIDATION_DIR:-}
TRUTH_CSV=${TRUTH_CSV:-${DEMO:+$DATA_DIR/test.csv}}
source scripts/system.sh

read_boxes() {  # read_boxes PHASE val|test NAME RECIPE...: every classifier, then all of them together
  local phase=$1 part=$2 name=$3 recipe first=$4
  shift 3
  for recipe in "$@"; do
    needs "$(run_dir "$phase" "$recipe")/run.json" "the stage that trains it"
    run "$recipe" --data_tfrec_dir="$(store "$recipe" "$part")" --run_dir="$(run_dir "$phase" "$recipe")" \
      --job=test --views="$VIEWS"
  done
  if (($# > 1)); then
    run "$first" --data_tfrec_dir="$(store "$first" "$part")" --run_dir="$RUNS/$phase/$name" --job=ensemble \
      --members="$(members "$phase" "$@")" --combine="${COMBINE:-mean_logits}" --overwrite
  fi
}

submit() {  # submit NAME RUN OPTION...: the submission of a run on the test pages, and its score
  local first=$(first_recipe)
  run "$first" --data_tfrec_dir="$(store "$first" test)" --run_dir="$2" "${@:3}" \
    --job="submit${TRUTH_CSV:+,score}" --data_dir="$DATA_DIR" \
    ${TRUTH_CSV:+--truth_csv="$TRUTH_CSV" --score_csv="$TABLE" --score_name="$1"}
}
