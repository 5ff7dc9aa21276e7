# Sourced by every stage of system B: what it works on. From the environment:
#   DATA_DIR        folder with train.csv, extra_images.csv, test.csv, images/ of the Turtle Recall
#                   competition; without it the demo, on photographs that are rendered first
#   RECIPES         recipes of the networks, each of which is trained once per fold
#   N_FOLDS         folds that are trained, of those that the packing made
#   TTA             test-time views of the nine (1: the photograph as it is)
#   STORES, RUNS    folders of the packed records and of the runs
#   TRAIN_OPTIONS   options of run.py that override the recipes
#   TRUTH_CSV       image_id,turtle_id of the test, where it is known: the submissions are scored
#   OPTIONS         options of run.py for every call, such as --tpu_ip_or_name=None
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

DEMO=
if [[ -z ${DATA_DIR:-} ]]; then
  DEMO=yes
  place=demo_turtles
  DATA_DIR=data/$place/turtles
  RECIPES=${RECIPES:-recipes/demo/turtles.args recipes/demo/turtles_second.args}
  TRUTH_CSV=${TRUTH_CSV:-$DATA_DIR/test_truth.csv}
else
  place=turtle
  RECIPES=${RECIPES:-$(echo recipes/turtle/{ef1b7,beitl,ef1l2,ef2xl,ef1l2_second,ef2l}.args)}
fi
N_FOLDS=${N_FOLDS:-5}
TTA=${TTA:-9}
source scripts/system.sh

together() {  # together NAME RECIPE...: all folds of the networks as one, their submission and its score
  run "$2" --data_tfrec_dir="$(store "$2" test)" --run_dir="$RUNS/$1" --overwrite \
    --members="$(members folds "${@:2}")" --combine="${COMBINE:-mean_probabilities}" \
    --job="ensemble,submit${TRUTH_CSV:+,score}" --sample_submission="$DATA_DIR/sample_submission.csv" \
    ${TRUTH_CSV:+--truth_csv="$TRUTH_CSV" --score_csv="$TABLE" --score_name="$1"}
}
