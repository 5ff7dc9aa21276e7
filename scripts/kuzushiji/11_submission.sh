#!/usr/bin/env bash
# Reads the test pages with the refined classifiers; the submission is RUNS/refined/ensemble/submission.csv.
# Needs: 06, 10. COMBINE=hard_vote votes, as was also published.
source "$(dirname "$0")/settings.sh"
read_boxes refined test ensemble $RECIPES
submit "+ refinement" "$RUNS/refined/ensemble" --rescorer="$RUNS/rescorer"
