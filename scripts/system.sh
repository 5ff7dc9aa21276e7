# Sourced by a system's settings.sh: what its stages are made of. Wants DATA_DIR, RECIPES, and place, the
# folder of its own in data/ and in runs/.
STORES=${STORES:-data/$place}
RUNS=${RUNS:-runs/$place}
TRUTH_CSV=${TRUTH_CSV:-}
TABLE=$RUNS/scores.csv

source scripts/functions.sh

run_dir() {  # run_dir PHASE RECIPE
  echo "$RUNS/$1/$(basename "$2" .args)"
}

needs() {  # needs FILE STAGE: stops if a stage that makes it has not run
  [[ -e $1 ]] || fail "$1 is absent: run $(dirname "$0")/$2 first"
}

packings() {  # one recipe of each different packing of the classifiers
  local recipe seen=
  for recipe in $RECIPES; do
    if [[ " $seen " != *" $(packing "$recipe") "* ]]; then
      seen+=" $(packing "$recipe")"
      echo "$recipe"
    fi
  done
}

first_recipe() {  # the classifier whose store stands for the ensemble's
  set -- $RECIPES
  echo "$1"
}

for recipe in ${DETECTOR:-} $RECIPES; do
  [[ -f $recipe && -f $(packing "$recipe") ]] || fail "there is no recipe $recipe, or it names no packing"
done
source scripts/environment.sh

pack() {  # pack RECIPE OPTION...
  "$PYTHON" create_tfrecords.py "@$(packing "$1")" --data_dir="$DATA_DIR" "${@:2}"
}

run() {  # run RECIPE OPTION...: what is given in OPTIONS last
  "$PYTHON" run.py "@$1" "${@:2}" ${OPTIONS:-}
}

members() {  # members PHASE RECIPE...: the runs, separated by commas
  local recipe list=
  for recipe in "${@:2}"; do
    list+=,$(run_dir "$1" "$recipe")
  done
  echo "${list#,}"
}
