#!/usr/bin/env bash
# Sets up the environment and runs the tests. Arguments are passed on to pytest:
#   bash run_tests.sh -m slow        the slow ones
#   bash run_tests.sh tests/test_packing.py
#   bash run_tests.sh -n 2 --dist=loadfile --no-loadscope-reorder     as .ci/run does: two at a time
set -euo pipefail
cd "$(dirname "$0")"
EXTRA_REQUIREMENTS=requirements-tests.txt
source scripts/environment.sh
exec "$PYTHON" -m pytest "$@"
