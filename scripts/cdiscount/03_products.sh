#!/usr/bin/env bash
# Trains every network on, once for each number of images of a product, which are joined into one picture.
# Needs: 02. Makes: RUNS/PRODUCTS/RECIPE.
source "$(dirname "$0")/settings.sh"
for products in $PRODUCTS; do
  go_on "$products" "$(phase "$products")"
done
