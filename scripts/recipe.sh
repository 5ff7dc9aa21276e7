# Sourced by run_training.sh and run_inference.sh: the environment; RECIPE, what reads; DETECTOR, what
# finds the characters (empty: none); for the demo, whose data are its own, DEMO=yes and DATA_DIR.
source scripts/environment.sh
demo=recipes/demo/classify.args
RECIPE=${RECIPE:-$demo}
if [[ $RECIPE == "$demo" ]]; then
  DETECTOR=${DETECTOR-recipes/demo/detect.args}
fi
DETECTOR=${DETECTOR:-}
SYSTEM=$(basename "$(dirname "$RECIPE")")
STORES=${STORES:-data/$SYSTEM}
DEMO=
if [[ -z ${DATA_DIR:-} ]]; then
  if [[ $SYSTEM != demo ]]; then
    echo "$0: $RECIPE needs data: give DATA_DIR=FOLDER (README.md tells what is in it)" >&2
    exit 1
  fi
  DEMO=yes
  DATA_DIR=data/demo/pages
fi

packing() {  # the packing recipe that a recipe names
  sed -n 's/^--pack=//p' "$1"
}

store() {  # store RECIPE train|test: the folder of its packed records
  echo "$STORES/$(basename "$(packing "$1")" .args)/$2"
}

check() {  # check OPTION...: refuses options of run.py now rather than after the packing
  "$PYTHON" -m jobs.options "$@" || {
    if [[ $DETECTOR ]]; then
      echo "(arguments go to the training of $DETECTOR and of $RECIPE alike; DETECTOR= leaves the" \
           "first out, RECIPE=$DETECTOR DETECTOR= the second)" >&2
    fi
    return 2
  }
}
