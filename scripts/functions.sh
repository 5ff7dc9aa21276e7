# Sourced by recipe.sh and system.sh: what recipes say, and where their stores are. Wants STORES.

fail() {
  echo "$0: $*" >&2
  exit 1
}

option() {  # option NAME RECIPE: what a recipe, or one that it begins with, gives for an option
  local value=$(sed -n "s/^--$1=//p" "$2") begun=$(sed -n 's/^@//p' "$2")
  if [[ $value || ! $begun ]]; then
    echo "$value"
  else
    option "$1" "$begun"
  fi
}

packing() {
  option pack "$1"
}

store() {  # store RECIPE train|val|test|pseudo: the folder of its packed records
  echo "$STORES/$(basename "$(packing "$1")" .args)/$2"
}
