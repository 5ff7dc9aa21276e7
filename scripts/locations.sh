# Sourced by the scripts at the top: where the store of RECIPE lies and what packs it.
PACK=$(sed -n 's/^--pack=//p' "$RECIPE")
STORE=${STORE:-data/$(basename "$(dirname "$RECIPE")")/$(basename "$PACK" .args)}
