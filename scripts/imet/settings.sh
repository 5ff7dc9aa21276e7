# Sourced by every stage of system C: what it works on. From the environment:
#   DATA_DIR          folder with train.csv, labels.csv, train/, test/, sample_submission.csv of the iMet
#                     Collection 2019; without it the demo, on artworks that are rendered first
#   RECIPES           recipes of the networks that are stacked (7th place)
#   NOISY             recipe that leaves wrong labels out and is refined for each group (1st place)
#   GROUPS_OF_LABELS  what stands before :: in the labels
#   N_FOLDS           folds that are trained, of those that the packing made
#   STORES, RUNS      folders of the packed records and of the runs
#   TRAIN_OPTIONS, GROUP_OPTIONS   options of run.py that override the recipes, of the latter for the groups
#   PROBABILITY       least one of the likeliest label of a pseudo-labelled image
#   STACK_ROWS        rows that LightGBM learns from
#   TRUTH_CSV         id,attribute_ids of the test, where it is known: the submissions are scored
#   OPTIONS           options of run.py for every call, such as --tpu_ip_or_name=None
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

DEMO=
if [[ -z ${DATA_DIR:-} ]]; then
  DEMO=yes
  place=demo_imet
  DATA_DIR=data/$place/imet
  RECIPES=${RECIPES:-$(echo recipes/demo/artworks{,_second,_third}.args)}
  NOISY=${NOISY:-recipes/demo/artworks_noisy.args}
  GROUP_OPTIONS=${GROUP_OPTIONS:---n_epochs=4 --lr=1e-3 --losses_after_epochs= --drop_worst=0 --mine_hardest=0}
  TRUTH_CSV=${TRUTH_CSV:-$DATA_DIR/test_truth.csv}
  STACK_ROWS=${STACK_ROWS:-60000}
  N_FOLDS=${N_FOLDS:-2}
else
  place=imet
  RECIPES=${RECIPES:-$(echo recipes/imet/{seresnext101,resnet34,pnasnet5}.args)}
  NOISY=${NOISY:-recipes/imet/senet154.args}
  GROUP_OPTIONS=${GROUP_OPTIONS:---n_epochs=6 --lr=1e-4 --losses_after_epochs= --drop_worst=0 --mine_hardest=0}
  STACK_ROWS=${STACK_ROWS:-2000000}
  N_FOLDS=${N_FOLDS:-5}
fi
GROUPS_OF_LABELS=${GROUPS_OF_LABELS:-culture tag}
PROBABILITY=${PROBABILITY:-0.5}
source scripts/system.sh

FIRST=$(first_recipe)
TRAIN=$(store "$FIRST" train) TEST=$(store "$FIRST" test)

train_folds() {  # train_folds RECIPE RUN_DIR OPTION...
  run "$1" --data_tfrec_dir="$TRAIN" --n_folds="$N_FOLDS" --run_dir="$2" --job=train,val "${@:3}"
}

together() {  # together RUN JOB MEMBER,... OPTION...: a second level, fitted on the training store (unless
  local store jobs=$2  # FITTED=yes) and used on the test store; the submission and its score
  for store in $([[ ${FITTED:-} ]] || echo "$TRAIN") "$TEST"; do
    if [[ $store == "$TEST" ]]; then
      set -- "$@" --sample_submission="$DATA_DIR/sample_submission.csv" \
        ${TRUTH_CSV:+--truth_csv="$TRUTH_CSV" --score_csv="$TABLE" --score_name="$1"}
      jobs+=,submit${TRUTH_CSV:+,score}
    fi
    "$PYTHON" run.py --task=multilabel --data_tfrec_dir="$store" --run_dir="$RUNS/$1" --members="$3" --job="$jobs" \
      $([[ $2 == ensemble || $store == "$TRAIN" ]] && echo --overwrite) "${@:4}" ${OPTIONS:-}
  done
}
