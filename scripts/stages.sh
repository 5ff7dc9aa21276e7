# Sourced by the scripts at the top and by a system's training.sh and inference.sh.

whole() {  # whole training|inference OPTION...: of SYSTEM
  if [[ ! -f scripts/$SYSTEM/$1.sh ]]; then
    echo "$0: there is no SYSTEM=$SYSTEM; the systems are $(cd scripts && echo */ | tr -d /)" >&2
    exit 1
  fi
  OPTIONS="${OPTIONS:-} ${*:2}" exec bash "scripts/$SYSTEM/$1.sh"
}

stages() {  # stages NUMBER...: runs them, each saying what it does
  local number stage
  for number in "$@"; do
    for stage in "$(dirname "$0")/${number}"_*.sh; do
      echo "== $(basename "$stage" .sh): $(sed -n '2s/^# //p' "$stage")"
      bash "$stage"
    done
  done
  echo "== done: $# stages in $((SECONDS / 60)) minutes"
}
