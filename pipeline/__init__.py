"""Records to batches: order, cache, decode, augmentation, normalisation."""
import keras2
