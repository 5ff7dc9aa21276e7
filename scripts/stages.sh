# Sourced by a system's training.sh and inference.sh: runs its stages, each saying what it does.
stages() {  # stages NUMBER...
  local number stage started=$SECONDS
  for number in "$@"; do
    for stage in "$(dirname "$0")/${number}"_*.sh; do
      echo "== $(basename "$stage" .sh): $(sed -n '2s/^# //p' "$stage")"
      bash "$stage"
    done
  done
  echo "== done: $# stages in $(((SECONDS - started) / 60)) minutes"
}
