# Sourced by run_training.sh and run_inference.sh: the environment; for RECIPE what packs its store
# (PACK) and where that lies (STORE); for the demo, whose data are its own, DEMO=yes and DATA_DIR.
source scripts/environment.sh
RECIPE=${RECIPE:-recipes/demo/classify.args}
SYSTEM=$(basename "$(dirname "$RECIPE")")
PACK=$(sed -n 's/^--pack=//p' "$RECIPE")
STORE=${STORE:-data/$SYSTEM/$(basename "$PACK" .args)}
DEMO=
if [[ -z ${DATA_DIR:-} ]]; then
  if [[ $SYSTEM != demo ]]; then
    echo "$0: $RECIPE needs data: give DATA_DIR=FOLDER (README.md tells what is in it)" >&2
    exit 1
  fi
  DEMO=yes
  DATA_DIR=data/demo/pages
fi
