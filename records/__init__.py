"""Bytes on disk: annotations, page cleaning, crops, splits, TFRecord shards, demo pages."""
import keras2
