# Sourced by every stage of system E: what it works on. From the environment:
#   DATA_DIR        folder with train.bson, test.bson, category_names.csv, sample_submission.csv of Cdiscount's
#                   competition; without it the demo, on products that are rendered first
#   RECIPES         recipes of the networks of single images
#   PRODUCTS        recipes that go on from these, one for each number of images of a product
#   WITH_TEXT       recipe that goes on from these, with what is written on a picture beside it
#   TEXT_BOXES      recipe of the network that finds words on pictures, of task detect
#   WORDS           recipe of the network that reads them, of task text
#   COVERS          options of python -m records.demo_covers: both learn on rendered covers
#   STORES, RUNS    folders of the packed records and of the runs
#   TRAIN_OPTIONS   options of run.py that override the recipes of pictures
#   TEXT_OPTIONS    those that override TEXT_BOXES and WORDS
#   TRUTH_CSV       _id,category_id[,part] of the test, where it is known: all steps are scored
#   OPTIONS         options of run.py for every call, such as --tpu_ip_or_name=None
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

DEMO=
if [[ -z ${DATA_DIR:-} ]]; then
  DEMO=yes
  place=demo_cdiscount
  DATA_DIR=data/$place/products
  RECIPES=${RECIPES:-recipes/demo/products.args}
  PRODUCTS=${PRODUCTS:-$(echo recipes/demo/products{1,2,3,4}.args)}
  WITH_TEXT=${WITH_TEXT:-recipes/demo/products_text.args}
  TEXT_BOXES=${TEXT_BOXES:-recipes/demo/text_boxes.args}
  WORDS=${WORDS:-recipes/demo/words.args}
  COVERS=${COVERS:---covers=600 --words=6000}
  TRUTH_CSV=${TRUTH_CSV:-$DATA_DIR/test_truth.csv}
else
  place=cdiscount
  RECIPES=${RECIPES:-$(echo recipes/cdiscount/{inception_resnet_v2,resnet50,two_fc}.args)}
  PRODUCTS=${PRODUCTS:-$(echo recipes/cdiscount/{large224,product2,product3,product4}.args)}
  WITH_TEXT=${WITH_TEXT:-recipes/cdiscount/with_text.args}
  TEXT_BOXES=${TEXT_BOXES:-recipes/cdiscount/text_boxes.args}
  WORDS=${WORDS:-recipes/cdiscount/words.args}
  COVERS=${COVERS:---covers=20000 --words=200000}
fi
DETECTOR=$TEXT_BOXES
source scripts/system.sh
for recipe in $PRODUCTS "$WITH_TEXT" "$WORDS"; do
  [[ -f $recipe ]] || fail "there is no recipe $recipe"
done

FIRST=$(first_recipe)
TRAIN=$(store "$FIRST" train) TEST=$(store "$FIRST" test)

go_on() {  # go_on RECIPE PHASE: every network of single images trained on by a recipe; OPTION... besides
  local recipe from
  for recipe in $RECIPES; do
    from=$(run_dir single "$recipe")
    needs "$from/run.json" 02_train.sh
    run "$recipe" "@$1" --data_tfrec_dir="$TRAIN" --init_from="$from" --run_dir="$(run_dir "$2" "$recipe")" \
      --job=train,val "${@:3}" ${TRAIN_OPTIONS:-}
  done
}

phase() {  # phase RECIPE: the folder of its runs
  basename "$1" .args
}

words_seen() {  # words_seen train|test: words are found on every picture of a part, and what the reader sees
  local pages=$STORES/pages/$1 words=$STORES/words/$1 found=$STORES/found/$1  # on them becomes its vector
  local name line=() packed=("$PYTHON" create_tfrecords.py --format=cdiscount --source=test --data_dir="$DATA_DIR"
                             --bson="$DATA_DIR/$1.bson" --name="$1" --overwrite)
  "${packed[@]}" --records=pages --size="$(option size "$(packing "$TEXT_BOXES")")" --out_dir="$pages"
  run "$TEXT_BOXES" --data_tfrec_dir="$pages" --run_dir="$RUNS/text_boxes" --job=detect --data_preds_dir="$found"
  for name in size aspect channels; do
    line+=(--$name="$(option $name "$(packing "$WORDS")")")
  done
  "${packed[@]}" --records=boxes --detections="$found/$1.csv" --fit=line "${line[@]}" --out_dir="$words"
  run "$WORDS" --data_tfrec_dir="$words" --run_dir="$RUNS/words" --job=text_features --data_preds_dir="$found"
}

vectors() {  # vectors train|test: the file of words_seen
  echo "$STORES/found/$1/$1.npz"
}

together() {  # together NAME RUN,...: what runs say of the test products, their submission and its score
  "$PYTHON" run.py --data_tfrec_dir="$TEST" --run_dir="$RUNS/$1" --members="$2" --overwrite \
    --job="products,submit${TRUTH_CSV:+,score}" --sample_submission="$DATA_DIR/sample_submission.csv" \
    ${TRUTH_CSV:+--truth_csv="$TRUTH_CSV" --score_csv="$TABLE" --score_name="$1"} ${OPTIONS:-}
}
