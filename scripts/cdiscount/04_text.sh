#!/usr/bin/env bash
# Trains the networks that find and read words, on covers that are rendered; and looks at the training pictures.
# Needs: 01. Makes: RUNS/text_boxes, RUNS/words, STORES/found/train: a vector for each picture.
source "$(dirname "$0")/settings.sh"
needs "$TRAIN" 01_pack.sh
covers=$STORES/covers products=$DATA_DIR
"$PYTHON" -m records.demo_covers --out_dir="$covers" --overwrite $COVERS
DATA_DIR=$covers
pack "$TEXT_BOXES" --json="$covers/annotations.json" --image_dir="$covers/images" \
  --out_dir="$(store "$TEXT_BOXES" train)" --overwrite
pack "$WORDS" --csv="$covers/words.csv" --out_dir="$(store "$WORDS" train)" --overwrite
run "$TEXT_BOXES" --data_tfrec_dir="$(store "$TEXT_BOXES" train)" --run_dir="$RUNS/text_boxes" --job=train \
  ${TEXT_OPTIONS:-}
run "$WORDS" --data_tfrec_dir="$(store "$WORDS" train)" --run_dir="$RUNS/words" --job=train,val ${TEXT_OPTIONS:-}
DATA_DIR=$products
words_seen train
