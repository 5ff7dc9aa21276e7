# Sourced by run_training.sh and run_inference.sh: the environment; RECIPE, what reads; DETECTOR, what
# finds the characters (empty: none); for the demo, whose data are its own, DEMO=yes and DATA_DIR.
demo=recipes/demo/classify.args
RECIPE=${RECIPE:-$demo}
if [[ $RECIPE == "$demo" && -z ${BOXES_CSV:-} ]]; then
  DETECTOR=${DETECTOR-recipes/demo/detect.args}
fi
DETECTOR=${DETECTOR:-}
SYSTEM=$(basename "$(dirname "$RECIPE")")
STORES=${STORES:-data/$SYSTEM}

source scripts/functions.sh

for recipe in "$RECIPE" $DETECTOR; do
  [[ -f $recipe ]] || fail "there is no recipe $recipe"
  [[ -f $(packing "$recipe") ]] || fail "$recipe names no packing recipe (--pack=FILE)"
done
for argument in "$@"; do
  if [[ $DETECTOR && $argument =~ ^--(run_dir|job|data_tfrec_dir|data_preds_dir)(=|$) ]]; then
    fail "$argument cannot be for $DETECTOR and for $RECIPE at once: use RUN_DIR and" \
         "DETECTOR_RUN_DIR, or do one at a time"
  fi
done
DEMO=
if [[ -z ${DATA_DIR:-} ]]; then
  [[ $SYSTEM == demo ]] || fail "$RECIPE needs data: give DATA_DIR=FOLDER (README.md tells what is in it)"
  DEMO=yes
  DATA_DIR=data/demo/pages
fi
source scripts/environment.sh

check() {  # check OPTION...: refuses options of run.py now rather than after the packing
  "$PYTHON" -m jobs.options "$@" || {
    if [[ $DETECTOR ]]; then
      echo "(arguments go to run.py for $DETECTOR and for $RECIPE alike; DETECTOR_OPTIONS has those" \
           "of the first alone)" >&2
    fi
    return 2
  }
}
