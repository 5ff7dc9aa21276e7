#!/usr/bin/env bash
# Trains every network on with what is written on a picture beside it.
# Needs: 04. Makes: RUNS/WITH_TEXT/RECIPE.
source "$(dirname "$0")/settings.sh"
needs "$(vectors train)" 04_text.sh
go_on "$WITH_TEXT" "$(phase "$WITH_TEXT")" --aux_features="$(vectors train)"
